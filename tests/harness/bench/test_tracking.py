from __future__ import annotations

import io
import json
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.harness.app import App, Ran, listed, make, rows
from tests.harness.tracked import Tracked, read


def test_nothing_is_tracked_by_default(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert app("system=offload").code == 0


def test_a_missing_tracker_is_said_before_measuring(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    ran = app("system=offload", "tracking=wandb")
    assert ran.code == 2
    assert "pip install 'spmoe-bench[wandb]', or tracking=none" in ran.words
    assert not list(Path("results").rglob("*.jsonl"))


def test_an_unreachable_tracker_costs_a_warning(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: Any) -> None:
        raise ConnectionError("api.wandb.ai does not answer")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    ran = app("systems=[offload,sp_moe]", "tracking=wandb", "tracking.mode=online")
    assert ran.code == 0
    for name in ("offload", "sp_moe", "the comparison"):
        assert f"W&B did not take {name}: api.wandb.ai does not answer" in ran.words
    assert "tracking.mode=offline" in ran.words
    assert "wandb sync" not in ran.words
    assert list(Path("results").rglob("summary.json"))


class FakeRun:
    def __init__(self, resumed: bool, options: dict[str, Any]) -> None:
        self.resumed, self.options, self.dir = resumed, options, str(Path.cwd().parent / "elsewhere" / "files")
        self.logged: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.define_metric = self.log_artifact = lambda *words, **options: None

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def finish(self, exit_code: int) -> None:
        assert exit_code == 0


def test_what_has_changed_is_sent_again_as_the_same_run(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[FakeRun] = []

    def init(**options: Any) -> FakeRun:
        made.append(FakeRun(bool(made), options))
        Path(made[-1].dir).mkdir(parents=True, exist_ok=True)
        return made[-1]

    media = SimpleNamespace(add_file=lambda name: None)
    kinds = dict.fromkeys(("Table", "Html", "Histogram", "Artifact", "Settings"), lambda *_, **__: media)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, **kinds))
    for words in ((), ("tracking.text=true",)):
        ran = app("system=offload", "tracking=wandb", "tracking.mode=online", *words)
        assert "did not take" not in ran.words
    first, second = made
    assert first.options["id"] == second.options["id"]
    assert second.options["resume"] == "allow"
    assert first.summary == second.summary
    assert sum("request" in values for values in first.logged) == 4
    assert not any("request" in values for values in second.logged), "W&B has the history"
    app("system=offload", "tracking=wandb", "tracking.mode=online", "tracking.text=true")
    assert len(made) == 2, "and not again where it lies outside of the current folder"


class Capture:
    """What `capsys` does, for as long as a module's fixture lives."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._streams = [io.StringIO(), io.StringIO()]
        for name, stream in zip(("stdout", "stderr"), self._streams, strict=True):
            patch.setattr(sys, name, stream)

    def readouterr(self) -> list[str]:
        said = [stream.getvalue() for stream in self._streams]
        for stream in self._streams:
            stream.truncate(0)
            stream.seek(0)
        return said


@dataclass(frozen=True)
class Story:
    """A comparison that is tracked, and shown again with the same command."""

    home: Path
    first: Ran
    again: Ran
    runs: dict[str, Tracked]
    folders_after: int

    def row(self, system: str) -> dict[str, Any]:
        return rows(self.home / "summary.json")[system]

    def lines(self, system: str, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.home / system / f"{name}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    pytest.importorskip("wandb")
    folder = tmp_path_factory.mktemp("tracked")
    words = ("systems=[offload,sp_moe]", "budget=0.5", "tracking=wandb", "tracking.text=true", "tracking.steps=true")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR"):
            patch.setenv(f"WANDB_{name}", str(folder))
        for name in ("MODE", "PROJECT", "RUN_GROUP"):
            patch.delenv(f"WANDB_{name}", raising=False)
        app = make(patch, Capture(patch), folder)  # type: ignore[arg-type]
        first = app(*words)
        runs = [read(path) for path in sorted(folder.glob("wandb/offline-run-*"))]
        again = app(*words)
        (home,) = (path.parent for path in folder.glob("results/runs/*/summary.json"))
        after = len(list(folder.glob("wandb/offline-run-*")))
        yield Story(home, first, again, {run.run["display_name"].partition("-")[0]: run for run in runs}, after)


@pytest.mark.slow
def test_one_offline_run_per_cell_and_one_for_the_comparison(story: Story) -> None:
    assert (story.first.code, "did not take" in story.first.out) == (0, False)
    assert set(story.runs) == {"offload", "sp_moe", "comparison"}
    told = [(run.run["run_group"], run.run["job_type"]) for run in story.runs.values()]
    assert set(told) == {(story.home.name, "bench"), (story.home.name, "comparison")}
    assert {"sp_moe", "fake", "humaneval", "fine_grained", "emulated"} < set(story.runs["sp_moe"].run["tags"])
    assert "wandb sync wandb/offline-run-" in story.first.out
    assert story.first.out.count("offline-run-") == 3


@pytest.mark.slow
def test_a_finished_comparison_does_not_appear_twice(story: Story) -> None:
    assert "is finished; its records are shown" in story.again.out
    assert story.folders_after == 3
    assert "wandb sync" not in story.again.out


@pytest.mark.slow
def test_the_history_has_a_point_per_request(story: Story) -> None:
    points, lines = story.runs["sp_moe"].points("request"), story.lines("sp_moe", "requests")
    assert len(points) == len(lines) == 4
    assert [point["request"] for point in points] == list(range(4))
    for point, line in zip(points, lines, strict=True):
        assert point["request/tpot_ms"] == pytest.approx(1e3 * line["decode_seconds"] / line["decode_tokens"])
        assert point["request/ttft_ms"] == pytest.approx(1e3 * line["ttft"])
        assert point["request/acceptance_rate"] == pytest.approx(line["accepted"] / line["drafted"])
        assert point["request/output_tokens"] == line["n"]
    # The batch is one: what is pooled over requests is the cell's.
    metrics = story.row("sp_moe")["metrics"]
    moved = sum(point["request/moved_mib"] for point in points) * 2**20
    tokens = sum(line["decode_tokens"] for line in lines)
    assert moved / tokens == pytest.approx(metrics["bytes_per_token"]["value"], rel=1e-5)
    assert all(0 < point["request/stall_share"] < 1 for point in points)
    plain = story.runs["offload"].points("request")
    assert "request/acceptance_rate" not in plain[0], "an unknown is absent, not 0"


@pytest.mark.slow
def test_the_history_has_a_point_per_step_where_it_is_asked(story: Story) -> None:
    points = story.runs["sp_moe"].points("step")
    steps = [line for line in story.lines("sp_moe", "steps") if line["phase"] == "decode" and line["step"] is not None]
    assert len(points) == len(steps) > 4
    assert [point["step/accepted_tokens"] for point in points] == [sum(line["accepted"]) for line in steps]
    assert sum(point["step/stall_ms"] for point in points) == pytest.approx(
        sum(1e3 * line["spans"]["transfer"] for line in steps)
    )


@pytest.mark.slow
def test_summary_and_config_are_numbers_with_units_in_their_names(story: Story) -> None:
    run, metrics = story.runs["sp_moe"], story.row("sp_moe")["metrics"]
    assert run.summary["status"] == "ok"
    assert run.summary["tpot_ms"] == pytest.approx(1e3 * metrics["tpot"]["value"])
    assert run.summary["tpot_ms_low"] == pytest.approx(1e3 * metrics["tpot"]["low"])
    assert run.summary["hit_rate"] == pytest.approx(metrics["hit_rate"]["value"])
    assert "acceptance_rate" not in story.runs["offload"].summary
    assert run.config["budget_mib"] == story.row("sp_moe")["budget_bytes"] / 2**20
    assert run.config["budget"] == 0.5
    assert run.config["system"]["drafter"]["draft_length"] == 1
    assert run.config["chosen"]["calls"] > 0
    assert run.config["provenance"]["key"] == story.home.name


@pytest.mark.slow
def test_histograms(story: Story) -> None:
    run, metrics = story.runs["sp_moe"], story.row("sp_moe")["metrics"]
    bars = run.media("acceptance_by_position")
    assert bars["values"] == pytest.approx([metrics["acceptance_marginal_1"]["value"]])
    assert bars["bins"] == [0.5, 1.5]
    assert sum(run.media("transfer_waits_ms")["values"]) == len(run.points("step"))


@pytest.mark.slow
def test_the_table_has_every_request_and_its_text_on_demand(story: Story) -> None:
    table, lines = json.loads(story.runs["sp_moe"].file("requests")), story.lines("sp_moe", "requests")
    place = {name: number for number, name in enumerate(table["columns"])}
    assert [line[place["text"]] for line in table["data"]] == [line["text"] for line in lines]
    assert [line[place["id"]] for line in table["data"]] == [line["id"] for line in lines]


@pytest.mark.slow
def test_the_artifact_reproduces_the_summary(story: Story) -> None:
    """Its files are those of the cell, byte by byte, and the numbers follow from them."""
    (artifact,) = story.runs["sp_moe"].artifacts
    assert artifact["type"] == "records"
    files = {entry["path"]: Path(entry["local_path"]) for entry in artifact["manifest"]["contents"]}
    assert {"config.yaml", "provenance.json", "requests.jsonl", "steps.jsonl", "summary.json"} <= set(files)
    for name, copy in files.items():
        assert copy.read_bytes() == (story.home / "sp_moe" / name).read_bytes(), name
    lines = [json.loads(line) for line in files["requests.jsonl"].read_text().splitlines()]
    pooled = sum(line["decode_seconds"] for line in lines) / sum(line["decode_tokens"] for line in lines)
    stored = listed(files["summary.json"])[0]["metrics"]["tpot"]["value"]
    assert stored == pytest.approx(pooled, rel=1e-5)


@pytest.mark.slow
def test_the_comparison_has_table_report_and_files(story: Story) -> None:
    run = story.runs["comparison"]
    table = json.loads(run.file("comparison"))
    place = {name: number for number, name in enumerate(table["columns"])}
    (line,) = [line for line in table["data"] if line[0] == "sp_moe"]
    speedup = story.row("sp_moe")["metrics"]["speedup_over_offload"]
    for name, side in (("", "value"), ("_low", "low"), ("_high", "high")):
        assert line[place[f"speedup_over_offload{name}"]] == pytest.approx(speedup[side])
    assert "sp_moe" in run.file("report")
    (artifact,) = run.artifacts
    assert {entry["path"] for entry in artifact["manifest"]["contents"]} == {
        "summary.json", "table.md", "provenance.json"
    }  # fmt: skip


@pytest.mark.slow
def test_no_host_and_no_folder_is_told(story: Story) -> None:
    for run in story.runs.values():
        told = json.dumps([run.run, run.config, run.summary])
        assert not re.search(rf"(?<!\w){re.escape(socket.gethostname())}(?!\w)", told)
        assert str(Path(__file__).parents[3]) not in told
        assert str(story.home.parents[3]) not in told
