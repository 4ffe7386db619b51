"""The kit's stages, each in its time, whatever happens to the others; and a rehearsal of all of them."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from harness.gpu_bench import kit
from harness.gpu_bench.kit import Kit
from harness.gpu_bench.stages import BUDGET_SECONDS, CUDA_TESTS, REHEARSAL, STAGES, Setup, Stage
from systems.api import BadInput

ROOT = Path(__file__).parents[3]


def python(code: str) -> Any:
    return lambda setup: [sys.executable, "-c", code]


def states(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "back" / "kit.json").read_text())["stages"]
    return found


def test_stages_that_fail_or_take_too_long_cost_the_others_nothing(tmp_path: Path) -> None:
    child = tmp_path / "child"
    sleeper = (
        "import subprocess, sys, time;"
        f"p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"open({str(child)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    stages = [
        Stage("fails", 20, python("raise SystemExit(3)"), least=0),
        Stage("sleeps", 4, python(sleeper), least=0),
        Stage("works", 20, python("print('well')"), least=0),
        Stage("comes too late", 20, python(""), least=1000),
    ]
    output = tmp_path / "out"
    assert not Kit(Setup(output, "cpu"), stages, 52.0).run()
    found = states(output)
    assert [state["state"] for state in found.values()] == ["failed", "out of time", "ok", "left out"]
    assert found["fails"]["code"] == 3
    log = (output / "back" / "log.txt").read_text()
    assert "well" in log
    assert str(ROOT) not in log, "no folder of this machine"
    assert not _lives(int(child.read_text())), "what a stage has started ends with it"


def _lives(pid: int) -> bool:
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return False
        time.sleep(0.05)
    return True


def test_only_what_a_kit_has_left_is_replaced(tmp_path: Path) -> None:
    output, stage = tmp_path / "out", Stage("a", 5, python("pass"))
    for _ in range(2):
        assert Kit(Setup(output, "cpu", True), [stage], 20.0).run()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(BadInput, match="no kit has written"):
        Kit(Setup(tmp_path, "cpu", True), [stage], 20.0).run()
    assert (tmp_path / "thesis.tex").exists()


def test_time_that_a_stage_leaves_over_goes_to_those_behind_it(tmp_path: Path) -> None:
    stages = [
        Stage("short", 60, python("pass"), least=0),
        Stage("long", 1, python("import time; time.sleep(3)"), least=0),
    ]
    assert Kit(Setup(tmp_path / "out", "cpu"), stages, 70.0).run()
    stages = [
        Stage("long", 1, python("import time; time.sleep(9)"), least=0),
        Stage("other", 60, python("pass"), least=0),
    ]
    Kit(Setup(tmp_path / "out", "cpu"), stages, 68.0).run()
    assert states(tmp_path / "out")["long"]["state"] == "out of time", "but not what those need themselves"


def test_what_comes_back_goes_where_one_says_and_is_whole_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, back = tmp_path / "out", tmp_path / "home"
    code = f"import pathlib; d = pathlib.Path({str(output / 'results')!r}); d.mkdir(); (d / 'table.md').write_text('x')"
    stages = [Stage("a", 20, python(code), least=0), Stage("b", 20, python("pass"), least=0)]
    assert Kit(Setup(output, "cpu"), stages, 60.0, back).run()
    assert {file.name for file in back.iterdir()} == {"kit.json", "log.txt", "results.tar.gz"}
    assert not (output / "back").exists()

    def full(folders: Any, into: Path) -> None:
        into.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kit, "_archived", full)
    kept = (back / "results.tar.gz").read_bytes()
    run = Kit(Setup(output, "cpu"), stages[:1], 60.0, back)
    monkeypatch.setattr(Kit, "_empty", lambda self: None)
    (output / "results" / "table.md").unlink()
    (output / "results").rmdir()
    assert run.run(), "the other stages go on"
    assert (back / "results.tar.gz").read_bytes() == kept


def test_all_stages_together_have_one_deadline(tmp_path: Path) -> None:
    stages = [Stage(str(n), 60, python("import time; time.sleep(30)"), least=1.0) for n in range(3)]
    begin = time.monotonic()
    Kit(Setup(tmp_path / "out", "cpu", True), stages, 4.0).run()
    assert time.monotonic() - begin < 15
    assert [state["state"] for state in states(tmp_path / "out").values()] == ["out of time", "left out", "left out"]


def test_tests_that_are_ended_leave_their_report(tmp_path: Path) -> None:
    tests, output = tmp_path / "test_long.py", tmp_path / "out"
    tests.write_text("import time\ndef test_short(): pass\ndef test_long(): time.sleep(60)\n")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", str(tests)]
    stage = Stage("tests", 8, lambda setup: [*command, f"--junitxml={setup.output / 'junit.xml'}"])
    Kit(Setup(output, "cpu"), [stage], 9.0).run()
    assert states(output)["tests"]["state"] == "out of time"
    assert 'name="test_short"' in (output / "back" / "junit.xml").read_text()
    assert "test_short PASSED" in (output / "back" / "log.txt").read_text()


def test_records_of_a_comparison_that_is_ended_come_back(tmp_path: Path) -> None:
    output = tmp_path / "out"
    write = f"d = pathlib.Path({str(output / 'runs')!r}); d.mkdir(); (d / 'a.jsonl').write_text('x')"
    stage = Stage("pair", 2, python(f"import pathlib, time; {write}; time.sleep(60)"), least=0)
    Kit(Setup(output, "cpu"), [stage], 3.0).run()
    with tarfile.open(output / "back" / "results.tar.gz") as archive:
        assert "runs/a.jsonl" in archive.getnames()


def test_what_was_found_before_the_end_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is gathered after every stage: a device may be taken away at any time."""
    output = tmp_path / "out"
    code = (
        f"import pathlib; d = pathlib.Path({str(output)!r}); (d / 'stages').mkdir(exist_ok=True);"
        "(d / 'stages' / 'micro.json').write_text('{\"a\": 1}'); (d / 'results').mkdir(exist_ok=True);"
        "(d / 'results' / 'table.md').write_text('x'); (d / 'junit.xml').write_text('<a hostname=\"me\" b=\"1\">')"
    )
    monkeypatch.setattr(kit, "LARGEST", 5000)
    seen: list[set[str]] = []
    reports: list[str] = []
    gather = Kit._gather

    def watched(self: Kit) -> None:
        gather(self)
        seen.append({file.name for file in (output / "back").iterdir()})
        reports.extend(file.read_text() for file in (output / "back").glob("junit.xml"))

    monkeypatch.setattr(Kit, "_gather", watched)
    large = f"open({str(output / 'junit.xml')!r}, 'w').write('y' * 6000)"
    stages = [Stage("micro", 20, python(code)), Stage("large", 20, python(large))]
    Kit(Setup(output, "cpu", True), stages, 60.0).run()
    assert seen[0] == {"kit.json", "log.txt", "results.tar.gz", "junit.xml"}
    assert reports[0] == '<a b="1">', "nobody's machine"
    assert seen[1] == {"kit.json", "log.txt", "results.tar.gz"}, "what is too large does not come back"
    assert json.loads((output / "back" / "kit.json").read_text())["micro"] == {"a": 1}


def test_the_stages_fit_into_the_time_and_a_rehearsal_runs_every_kind() -> None:
    assert BUDGET_SECONDS <= 480
    assert sum(stage.seconds for stage in STAGES) <= BUDGET_SECONDS - kit.RESERVE
    modules = {stage.name: tuple(stage.command(Setup(Path("o"), "cpu", True))[1:3]) for stage in STAGES}
    assert {modules[name] for name in REHEARSAL} == set(modules.values())


def test_the_kit_runs_every_test_that_asks_for_a_device() -> None:
    marked = {path for path in (ROOT / "tests").rglob("test_*.py") if "mark.cuda" in path.read_text(encoding="utf-8")}
    assert {ROOT / file for file in CUDA_TESTS} == marked - {Path(__file__)}


@pytest.mark.nightly
def test_a_rehearsal_of_the_whole_kit(tmp_path: Path) -> None:
    output = tmp_path / "out"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "harness.gpu_bench", "--tiny", "--device=cpu", f"--output={output}"]
    begin = time.monotonic()
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, timeout=300, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + (output / "back" / "log.txt").read_text()[-3000:]
    assert time.monotonic() - begin < 90
    back = {file.name: file for file in (output / "back").iterdir()}
    assert set(back) == {"kit.json", "log.txt", "results.tar.gz", "junit.xml", "sample.json.gz", "profile.json.gz"}
    found = json.loads(back["kit.json"].read_text())
    assert {name: state["state"] for name, state in found["stages"].items()} == dict.fromkeys(REHEARSAL, "ok")
    assert found["micro"]["copies"]
    assert found["profile"]["operators"]
    with tarfile.open(back["results.tar.gz"]) as archive:
        names = archive.getnames()
    assert {"results/pair_float32/summary.json", "results/pair_replayed/summary.json"} <= set(names)
    assert json.loads(gzip.decompress(back["profile.json.gz"].read_bytes()))["traceEvents"]
    for file in back.values():
        assert str(ROOT).encode() not in file.read_bytes(), file.name
