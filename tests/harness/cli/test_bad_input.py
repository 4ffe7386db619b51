"""What a user gets wrong ends with exit code 2 and one paragraph: what is wrong, what exists, what to do."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from harness.records import files, summary_file
from tests.harness.app import App, rows


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["system=sp_mo"], "no system `sp_mo`; did you mean `sp_moe`? there are: "),
        (["hardware=a100"], "no hardware `a100`; there are: coarse, fine_grained, local"),
        (["experiment=benhc"], "no experiment `benhc`; did you mean `bench`?"),
        (["systm=offload"], "no config key `systm`; did you mean `system`?"),
        (["measure.repeat=2"], "no config key `measure.repeat`; did you mean `repeats`?"),
        (["+measure.speed=2"], "unknown key `measure.speed`"),
        (["system.prefetch.cutof=2"], "no config key `system.prefetch.cutof`; did you mean `cutoff`?"),
        (["system.engine.part=x"], "`system.engine.part` is not set in the chosen YAML"),
        (["system.nothing.here=x"], "`+system.nothing.here=...` asks the part itself"),
        (["systems=[offload,sp_mo]"], "no system `sp_mo`; did you mean `sp_moe`?"),
        (["systems=[{base:offload,lable:x}]"], "unknown key `systems[0].lable`; did you mean `label`?"),
        (["systems=[offload,offload]"], "two systems are labelled `offload`"),
        (["systems=[offload]", "system=sp_moe"], "give one of the two"),
        (
            ["systems=[offload]", "system.prefetch.cutoff=1"],
            "none of the systems offload has `system.prefetch.cutoff`",
        ),
        (["systems=[{base:offload,label:a/b}]"], "is no file name"),
        (["system=a,b"], "--multirun"),
        (["systems=[offload"], "systems=[offload"),
        (["measure.repeats=often"], "`measure.repeats` is 'often'; an integer is needed"),
        (["measure.repeats=0"], "`measure.repeats` is 0; 1 or more is needed"),
        (["measure.max_new_tokens=1"], "`measure.max_new_tokens` is 1"),
        (["budget=1.5"], "`budget` is '1.5'"),
        (["budget=12parsecs"], "`budget` is '12parsecs'"),
        (
            ["tracking=wandb", "tracking.mode=on"],
            "`tracking.mode` is 'on'; did you mean `online`? there are: disabled, offline, online",
        ),
        (["tracking.group=mine"], "add it with a plus sign: `+tracking.group=...`"),
        (["system=unknown"], "residency.part=mru is unknown; did you mean lru?"),
        (["dataset=jsonl"], "dataset.path"),
        (["dataset=jsonl", "dataset.path=none.jsonl"], "cannot read none.jsonl: No such file"),
        (["dataset.limit=164"], "`dataset.limit` 164 to measure and `measure.warmup` 1 others are wanted"),
        (["dataset.limit=0"], "`dataset.limit` is 0; 1 or more is needed"),
        (
            ["measure.max_new_tokens=599"],
            "0 prompts of humaneval fit the context, and `dataset.limit` 4 to measure and",
        ),
        (
            ["dataset.skip_too_long=false", "measure.max_new_tokens=400"],
            "with 400 new ones it exceeds the context of 600",
        ),
    ],
)
def test_named_and_mended(app: App, arguments: list[str], said: str) -> None:
    ran = app(*arguments)
    assert ran.code == 2
    assert said in ran.words
    assert "Traceback" not in ran.words
    assert ran.err.startswith("error: ")


def test_a_sweep_goes_on_after_a_job_with_bad_input(app: App) -> None:
    ran = app("--multirun", "system=unknown,offload")
    assert ran.code == 2
    assert "residency.part=mru" in ran.err
    assert list(Path("results/runs").glob("*/offload/summary.json"))


JSONL = {
    "bad_json": (b'{"prompt": "a"}\n{"prompt": \n', "line 2: not JSON"),
    "no_prompt": (b'{"id": 3}\n', "line 1: no column `prompt`; there are: id"),
    "not_text": (b'{"prompt": 3}\n', "line 1: `prompt` is 3; a text is needed"),
    "list": (b"[1]\n", "line 1: one JSON object a line is needed"),
    "duplicate": (
        b'{"id": "x", "prompt": "a"}\n\n{"id": "x", "prompt": "b"}\n',
        "line 3: id 'x' is that of line 1",
    ),
    "latin": ('{"prompt": "caf\xe9"}\n'.encode("latin-1"), "line 1: not UTF-8"),
    "empty": (b"\n\n", "holds no problems; rows with `prompt` do"),
    "blank": (b'{"id": "q", "prompt": "  "}\n', "prompt 'q' is empty"),
    "long": (b'{"id": "q", "prompt": "' + b"x" * 700 + b'"}\n', "prompt 'q' has 700 tokens"),
}


@pytest.mark.parametrize("case", JSONL)
def test_bad_prompts_name_their_line(app: App, case: str) -> None:
    content, said = JSONL[case]
    Path("mine.jsonl").write_bytes(content)
    ran = app("dataset=jsonl", "dataset.path=mine.jsonl", "system=offload")
    assert (ran.code, said in ran.words) == (2, True), ran.words


def test_good_prompts_of_ones_own(app: App) -> None:
    Path("mine.jsonl").write_text('\ufeff{"prompt": "caf\u00e9", "answer": 1}\n\n{"id": 7, "prompt": "b"}\n', "utf-8")
    own = ("dataset=jsonl", "dataset.path=mine.jsonl", "dataset.limit=null", "measure.warmup=0")
    assert app("system=offload", *own).code == 0
    (cell,) = Path("results/runs").glob("*/offload/requests.jsonl")
    assert '"id":"line-1"' in cell.read_text()
    assert '"id":"7"' in cell.read_text()


def test_a_folder_that_cannot_be_made_is_named_before_measuring(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("taken").write_text("a file")
    monkeypatch.setattr("systems.api.load_pair", lambda *_: pytest.fail("went on"))
    for option in ("runs=taken/runs", "output=taken/out", "--multirun"):
        ran = app("system=offload", option, *(["runs=taken/runs"] if option == "--multirun" else []))
        assert ran.code == 2
        assert "cannot write taken" in ran.words


@pytest.mark.parametrize("replayed", [True, False])
def test_predictions_do_not_replace_measured_results_nor_the_reverse(
    app: App, monkeypatch: pytest.MonkeyPatch, replayed: bool
) -> None:
    Path("out").mkdir()
    summary_file.write(Path("out"), "k", [{"system": "offload", "replayed": not replayed, "metrics": {}}])
    with monkeypatch.context() as patch:
        patch.setattr("systems.api.load_pair", lambda *_: pytest.fail("went on"))
        ran = app("system=offload", "output=out", *(["replay=traces"] if replayed else []))
    assert ran.code == 2
    there = "measured" if replayed else "replayed"
    assert f"out holds {there} results" in ran.words
    assert "output=null" in ran.words


def test_results_replace_those_of_their_own_kind(app: App) -> None:
    for option in ("measure.seed=0", "measure.seed=1"):
        assert app("system=offload", "output=out", option).code == 0
        assert rows(Path("out/summary.json"))["offload"]["replayed"] is False


class FullDisk:
    """A stream on a disk that is full after some bytes."""

    def __init__(self, stream: Any, room: int) -> None:
        self._stream, self._room = stream, room

    def write(self, text: str) -> None:
        self._room -= len(text)
        self._stream.write(text[:10])
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def test_a_disk_that_fills_up_while_measuring(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    start = files.Lines.__init__

    def short(self: files.Lines, path: Path) -> None:
        start(self, path)
        self._stream = FullDisk(self._stream, 2000)  # type: ignore[assignment]

    with monkeypatch.context() as patch:
        patch.setattr(files.Lines, "__init__", short)
        ran = app("systems=[offload,sp_moe]", "output=out")
    assert ran.code == 2
    assert "No space left on device; free some space" in ran.words
    assert not list(Path("results").rglob("summary.json"))
    assert len(list(Path("results").rglob("UNFINISHED"))) == 2
    assert len(list(Path("results").rglob("*.jsonl"))) < 4  # the refused file is gone
    assert app("systems=[offload,sp_moe]", "output=out").code == 0
    assert not list(Path("results").rglob("UNFINISHED"))


def test_a_failed_atomic_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "summary.json"
    files.write_text(target, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(files.CannotWrite, match="free some space"):
        files.write_text(target, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert target.read_text() == "old"


def test_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.dump({"value": float("nan")})
