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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.gpu_bench.stages import Setup, Stage
from harness.records import provenance
from harness.records.files import dump, write_text
from systems.api import BadInput

SCHEMA = "spmoe-bench/gpu-bench/1"
BACK = "back"
FILES = "kit.json", "log.txt", "junit.xml", "sample.json.gz", "profile.json.gz", "results.tar.gz"
"""What comes back."""
MARK = ".kit"
"""A file in a folder that a kit may empty."""
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
        back: where what comes back goes; None: a folder of the output.
    """

    def __init__(self, setup: Setup, stages: Sequence[Stage], seconds: float, back: Path | None = None) -> None:
        self._setup, self._stages = setup, stages
        self._began = time.monotonic()
        self._ends = self._began + seconds - min(RESERVE, seconds / 10)
        self._states: dict[str, dict[str, Any]] = {}
        self._back, self._console = back or setup.output / BACK, Console()

    def run(self) -> bool:
        """Run; say whether every stage that was begun ended well.

        Raises:
            BadInput: the folder for the results holds something that no kit has written.
        """
        self._empty()
        for place, stage in enumerate(self._stages):
            self._states[stage.name] = self._run(stage, self._stages[place + 1 :])
            try:
                self._gather()
            except OSError as error:  # a disk that is full: what the next stages find may be little enough
                self._states[stage.name]["not gathered"] = provenance.scrub(str(error))
            self._console.print(f"{stage.name}: {self._states[stage.name]}", highlight=False)
        return all(state["state"] in ("ok", "left out") for state in self._states.values())

    def _empty(self) -> None:
        """Let go of what a kit has left before, and of nothing else; make the folders."""
        output = self._setup.output
        if (output / MARK).exists():
            shutil.rmtree(output)
        elif output.exists() and any(output.iterdir()):
            raise BadInput(f"{output} holds files that no kit has written; name an empty folder")
        for folder in (output, self._back):
            folder.mkdir(parents=True, exist_ok=True)
        (output / MARK).touch()
        for name in FILES:
            (self._back / name).unlink(missing_ok=True)

    def _run(self, stage: Stage, later: Sequence[Stage]) -> dict[str, Any]:
        left = self._ends - time.monotonic()
        if left < stage.least:
            return {"state": "left out", "reason": f"{max(0.0, left):.0f} s are left"}
        spare = max(0.0, left - stage.seconds - sum(other.seconds for other in later))
        # A rehearsal shows that the commands work; how long they take is the machine's business.
        allowed = left if self._setup.tiny else min(stage.seconds + spare, left)
        command = list(stage.command(self._setup))
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
            self._bring("sample.json.gz", lambda packed: shutil.copyfile(sample, packed))
        if (profile := output / "profile.json").exists() and not (self._back / "profile.json.gz").exists():
            self._bring("profile.json.gz", lambda packed: _compressed(profile, packed))
        # `runs` are the records, also of a comparison that had to be ended.
        if folders := [output / name for name in ("results", "runs") if (output / name).exists()]:
            self._bring("results.tar.gz", lambda packed: _archived(folders, packed))
        for file in self._back.iterdir():
            if file.stat().st_size > LARGEST:
                file.unlink()
                self._states.setdefault("too large", {"state": "failed"})[file.name] = f"above {LARGEST} B"

    def _bring(self, name: str, pack: Callable[[Path], object]) -> None:
        """Put a file among what comes back, whole at any time: a kit may be ended while it packs."""
        packed, coming = self._setup.output / "packing", self._back / f"{name}.partial"
        pack(packed)
        shutil.move(packed, coming)
        coming.replace(self._back / name)


def _compressed(file: Path, into: Path) -> None:
    with file.open("rb") as source, gzip.open(into, "wb") as target:
        shutil.copyfileobj(source, target)


def _archived(folders: Sequence[Path], into: Path) -> None:
    with tarfile.open(into, "w:gz") as archive:
        for folder in folders:
            archive.add(folder, folder.name)


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
