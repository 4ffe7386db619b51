"""What is kept of the jobs of a sweep, so that the process that started them can sum up, wherever they ran.

`RUNS/sweeps/NAME/jobs/INVOCATION/NUMBER.json`, one file per job. The cells themselves are in `RUNS/KEY/`, as of every
comparison: what a sweep has finished is not measured again by another.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.config import schema
from harness.config.bench import BenchConfig
from harness.records.files import CannotWrite, dump, write_text
from harness.records.summary_file import Row

State = Literal["finished", "failed", "refused", "skipped", "planned"]
"""`refused` is bad input, `skipped` came after a failure under `fail_fast`, `planned` was not to be measured."""
INERT = ("runs", "output", "tracking", "resume", "baselines", "dry_run", "fail_fast", "hydra", "hydra/launcher")
"""Keys that make no other sweep of the same jobs."""
STOP = "STOP"


@dataclass(frozen=True, slots=True)
class Job:
    """One job: what was typed for it, and what became of it.

    Attributes:
        key: of its comparison, as `BenchConfig.key`; None if it was refused.
        config: of its comparison, in plain values.
        rows: of cells that could not be measured at all; those of a finished job are in its `summary.json`.
        seconds: how long a planned job may take, None for unknown.
    """

    number: int
    overrides: tuple[str, ...]
    state: State
    key: str | None = None
    config: dict[str, Any] | None = None
    reason: str | None = None
    rows: list[Row] = field(default_factory=list)
    seconds: float | None = None

    def __str__(self) -> str:
        return f"job {self.number} ({' '.join(self.overrides)}): {self.state}: {self.reason}"

    def bench_config(self) -> BenchConfig:
        """Return the config of a job that had one."""
        assert self.config is not None
        return schema.parse(BenchConfig, self.config, "")


@dataclass(frozen=True, slots=True)
class Sweep:
    """One invocation of a sweep. The same jobs under any launcher have the same `name`."""

    name: str
    invocation: str

    @classmethod
    def typed(cls, arguments: Sequence[str]) -> Sweep:
        """Return the sweep that a command line means, if it means one."""
        typed = [word for word in arguments if "=" in word and not word.startswith("-")]
        telling = sorted(word for word in typed if not _inert(word))
        experiment = next((word.partition("=")[2] for word in telling if word.startswith("experiment=")), "sweep")
        digest = hashlib.sha256("\0".join(telling).encode()).hexdigest()[:8]
        return cls(f"{experiment}-{digest}", f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}")

    def folder(self, runs: str) -> Path:
        """Where the sweep's table is."""
        return Path(runs) / "sweeps" / self.name

    def record(self, runs: str, job: Job) -> None:
        """Keep what became of a job.

        Raises:
            CannotWrite: the disk is full or the folder read-only.
        """
        folder = self._jobs(runs)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(folder, error) from error
        write_text(folder / f"{job.number}.json", dump(asdict(job), indent=1))

    def stop(self, runs: str) -> None:
        """Let jobs that have not begun be skipped."""
        write_text(self._jobs(runs) / STOP, "a cell failed and fail_fast is set\n")

    def stopped(self, runs: str) -> bool:
        """Whether jobs shall not begin any more."""
        return (self._jobs(runs) / STOP).exists()

    def jobs(self, runs: str) -> list[Job]:
        """Return what is kept, in the order of the jobs."""
        found = [json.loads(path.read_text(encoding="utf-8")) for path in self._jobs(runs).glob("*.json")]
        jobs = [Job(**item | {"overrides": tuple(item["overrides"])}) for item in found]
        return sorted(jobs, key=lambda job: job.number)

    def _jobs(self, runs: str) -> Path:
        return self.folder(runs) / "jobs" / self.invocation


def _inert(word: str) -> bool:
    key = word.partition("=")[0].lstrip("+~")
    return key in INERT or key.partition(".")[0] in INERT
