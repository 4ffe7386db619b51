"""Ctrl-C, SIGTERM and kill in the middle: finished cells stay whole, and the same command does the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness.app import CONF, SMALL

ROOT = Path(__file__).parents[3]
PROMPTS = ("dataset=jsonl", "dataset.path=prompts.jsonl")  # starts sooner than with the datasets package
SWEEP = ("--multirun", "--config-dir", str(CONF), *SMALL, *PROMPTS, "system=offload,slow")


def _start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.harness.fake_app", *SWEEP],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell starts background jobs, such as a nightly test run, with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def _wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in folder.glob(pattern)):
        assert time.monotonic() < deadline, "nothing was measured"
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_interrupted_and_resumed(tmp_path: Path, number: signal.Signals, code: int) -> None:
    (tmp_path / "prompts.jsonl").write_text("".join(f'{{"prompt": "def f{i}"}}\n' for i in range(5)))
    process = _start(tmp_path)
    _wait_for(tmp_path, "results/runs/*/slow/requests.jsonl")
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in errors
    (whole,) = tmp_path.glob("results/runs/*/offload/summary.json")
    assert not list(tmp_path.glob("results/runs/*/slow/summary.json"))
    (mark,) = tmp_path.glob("results/runs/*/slow/UNFINISHED")
    if number != signal.SIGKILL:
        assert "the same command measures what is missing" in errors
        assert mark.read_text().startswith("interrupted")
    if number == signal.SIGTERM:
        _rerun_completes(tmp_path, whole)


def _rerun_completes(folder: Path, whole: Path) -> None:
    finished = whole.stat().st_mtime_ns
    again = _start(folder)
    out, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
    assert out.count("is finished") == 1
    assert whole.stat().st_mtime_ns == finished
    assert list(folder.glob("results/runs/*/slow/summary.json"))
    assert not list(folder.glob("results/runs/*/*/UNFINISHED"))
    assert not list(folder.rglob("*.tmp"))
    assert {path.name for path in folder.iterdir()} == {"results", "prompts.jsonl"}  # nothing beside the records
