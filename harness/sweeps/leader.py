"""The process that started a sweep: what it says at the end, and with which code it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from harness.bench.run import Outcome
from harness.records.summary_file import Row
from harness.sweeps import curves, search, tidy
from harness.sweeps.jobs import Job, Sweep
from harness.tables import table
from harness.verdict.status import FAILING


class Leader(Callback):  # type: ignore[misc]  # Hydra is untyped
    """Hears from Hydra that this process starts a sweep, where its records go, and whether it is a search.

    Hydra makes the object and drops it, so what it heard is kept on the class.
    """

    runs: ClassVar[str | None] = None
    searches: ClassVar[bool] = False

    @classmethod
    def forget(cls) -> None:
        """Begin a command: no sweep of it has started yet."""
        cls.runs, cls.searches = None, False

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Remember the folder of records, and whether points are chosen by what came before."""
        type(self).runs = str(config.runs)
        type(self).searches = config.hydra.runtime.choices["hydra/sweeper"] != "basic"


def finish(sweep: Sweep, runs: str, console: Console) -> tuple[list[Row], bool]:
    """Say what the jobs of a sweep came to and write its table.

    Returns:
        The rows of all cells, and whether a job was refused for bad input.
    """
    jobs = sweep.jobs(runs)
    if not jobs:
        console.print("no job left a record; its launcher's output says why", highlight=False)
        return [], True
    refused = [job for job in jobs if job.state == "refused"]
    if any(job.state == "planned" for job in jobs):
        show_plan([job for job in jobs if job.state == "planned"], console)
        return [], bool(refused)
    finished = [job for job in jobs if job.state == "finished"]
    if Leader.searches and finished:
        table.draw([search.fastest(finished, [tidy.rows_of(job, runs) for job in finished])], console)
    elif len(finished) > 1:
        curves.show([_outcome(job, runs) for job in finished], console)
    if lines := tidy.lines(jobs, runs):
        console.print(f"\ntable of the sweep: {tidy.write(lines, sweep.folder(runs))}", highlight=False)
    _show_states(jobs, runs, console)
    return [row for job in jobs for row in tidy.rows_of(job, runs)], bool(refused)


def show_plan(jobs: Sequence[Job], console: Console) -> None:
    """List jobs that are not to be measured, and how long they may take."""
    for job in jobs:
        assert job.config is not None
        text = f"job {job.number} {job.key} {duration(job.seconds)}: {', '.join(job.config['systems'])}"
        console.print(f"{text} ({' '.join(job.overrides)})", markup=False, highlight=False)
    left = [job.seconds for job in jobs if job.seconds != 0]
    known = [seconds for seconds in left if seconds is not None]
    total = f"jobs: {len(jobs)}, {len(jobs) - len(left)} finished"
    if left:
        total += f"; the others take {duration(sum(known) if known else None)}"
    if known and len(known) < len(left):
        total += f", {len(left) - len(known)} without an estimate not counted"
    console.print(total, highlight=False)


def _outcome(job: Job, runs: str) -> Outcome:
    config, key = job.bench_config(), str(job.key)
    return Outcome(config, key, tidy.rows_of(job, runs), {label: Path(runs) / key / label for label in config.systems})


def _show_states(jobs: Sequence[Job], runs: str, console: Console) -> None:
    """Print how many cells ended how, and every failure once more."""
    rows = [(job, row) for job in jobs for row in tidy.rows_of(job, runs)]
    counts = Counter(row["status"] for _, row in rows)
    states = ", ".join([str(len(rows)), *(f"{count} {state}" for state, count in counts.items())])
    undone = Counter(job.state for job in jobs if job.state in ("refused", "skipped"))
    console.print(
        f"jobs: {', '.join([str(len(jobs)), *(f'{n} {state}' for state, n in undone.items())])}", highlight=False
    )
    console.print(f"cells: {states}", highlight=False)
    failures = [f"{job}" for job in jobs if job.state == "refused"]
    failures += [
        f"job {job.number} ({' '.join(job.overrides)}): {row['system']} {row['status']}: {row['reason']}"
        for job, row in rows
        if row["status"] in FAILING
    ]
    for text in failures:
        console.print(text, markup=False, highlight=False)


def duration(seconds: float | None) -> str:
    """Print an estimated duration."""
    if seconds is None:
        return "an unknown time (no such cell is finished yet)"
    if seconds == 0:
        return "finished"
    return f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"
