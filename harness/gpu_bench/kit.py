"""Running the stages one after the other, each within its time, and gathering what comes back."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from harness.gpu_bench.stages import Setup, Stage
from harness.records import provenance
from harness.records.files import dump, write_text
from systems.api import BadInput

SCHEMA = "spmoe-bench/gpu-bench/1"
BACK = "back"
GRACE = 5.0
"""Seconds between asking a stage to end and ending it."""
RESERVE = 10.0
"""Seconds kept for gathering what comes back."""
LARGEST = 16 * 2**20
"""Bytes that one file may have on its way back."""


class Kit:
    """All stages in one time.

    Args:
        stages: in order; what time does not suffice for is left out, and said to be.
        seconds: all together.
    """

    def __init__(self, setup: Setup, stages: Sequence[Stage], seconds: float) -> None:
        self._setup, self._stages = setup, stages
        self._began = time.monotonic()
        self._ends = self._began + seconds - min(RESERVE, seconds / 10)
        self._states: dict[str, dict[str, Any]] = {}
        self._back, self._console = setup.output / BACK, Console()

    def run(self) -> bool:
        """Run; say whether every stage that was begun ended well.

        Raises:
            BadInput: the folder for the results holds something that no kit has written.
        """
        self._empty()
        self._back.mkdir(parents=True, exist_ok=True)
        for stage in self._stages:
            self._states[stage.name] = self._run(stage)
            self._gather()
            self._console.print(f"{stage.name}: {self._states[stage.name]}", highlight=False)
        return all(state["state"] in ("ok", "left out") for state in self._states.values())

    def _empty(self) -> None:
        """Let go of what a kit has left before, and of nothing else."""
        output = self._setup.output
        if (output / BACK / "kit.json").exists():
            shutil.rmtree(output)
        elif output.exists() and any(output.iterdir()):
            raise BadInput(f"{output} holds files that no kit has written; name an empty folder")

    def _run(self, stage: Stage) -> dict[str, Any]:
        left = self._ends - time.monotonic()
        if left < stage.least:
            return {"state": "left out", "reason": f"{max(0.0, left):.0f} s are left"}
        # A rehearsal shows that the commands work; how long they take is the machine's business.
        command, allowed = list(stage.command(self._setup)), left if self._setup.tiny else min(stage.seconds, left)
        begin = time.monotonic()
        with (self._back / "log.txt").open("ab") as log:
            log.write(f"\n== {stage.name}: {provenance.scrub(' '.join(command))}\n".encode())
            log.flush()
            code = _within(command, allowed, log)
        seconds = round(time.monotonic() - begin, 2)
        if code is None:
            return {"state": "out of time", "seconds": seconds, "allowed": round(allowed, 1)}
        return {"state": "ok" if code == 0 else "failed", "seconds": seconds, "code": code}

    def _gather(self) -> None:
        """Write what there is until now; a device may be taken away at any time."""
        output = self._setup.output
        facts = {path.stem: json.loads(path.read_text()) for path in sorted((output / "stages").glob("*.json"))}
        kit = {
            "schema": SCHEMA,
            **provenance.commit(),
            "code": provenance.code_fingerprint(),
            "device": self._setup.device,
            "tiny": self._setup.tiny,
            "seconds": round(time.monotonic() - self._began, 1),
            "stages": self._states,
        }
        write_text(self._back / "kit.json", dump(kit | facts, indent=1))
        if (output / "junit.xml").exists():
            report = re.sub(r' hostname="[^"]*"', "", (output / "junit.xml").read_text(encoding="utf-8"))
            write_text(self._back / "junit.xml", provenance.scrub(report))
        if (sample := output / "sample" / "timeline.json.gz").exists():
            shutil.copy(sample, self._back / "sample.json.gz")
        if (profile := output / "profile.json").exists():
            with profile.open("rb") as source, gzip.open(self._back / "profile.json.gz", "wb") as target:
                shutil.copyfileobj(source, target)
        # `runs` are the records, also of a comparison that had to be ended.
        if folders := [name for name in ("results", "runs") if (output / name).exists()]:
            with tarfile.open(self._back / "results.tar.gz", "w:gz") as archive:
                for name in folders:
                    archive.add(output / name, name)
        for file in self._back.iterdir():
            if file.stat().st_size > LARGEST:
                file.unlink()
                self._states.setdefault("too large", {"state": "failed"})[file.name] = f"above {LARGEST} B"


def _within(command: Sequence[str], seconds: float, log: Any) -> int | None:
    """Run a command; return its exit code, None if it and its children had to be ended."""
    process = subprocess.Popen(
        command, cwd=provenance.ROOT, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        start_new_session=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)  # upon which pytest writes what it knows
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return None
