"""`python -m harness bench`: compare systems, once, in several profiles, or in the jobs of a sweep."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.launch import FAILURE, OK, USAGE, launch, report, verdict
from harness.config import compose
from harness.config.bench import BenchConfig
from harness.config.compose import Composed
from harness.records.summary_file import Row
from systems.api import BadInput

if TYPE_CHECKING:
    from harness.bench.run import Outcome
    from harness.sweeps.jobs import Sweep


def main() -> int:
    """Run the bench for `sys.argv`; return 0, 1 (failed, diverged, beyond a bound), 2 usage, 128 + signal."""
    from rich.console import Console

    from harness.sweeps import leader
    from harness.sweeps.jobs import Sweep

    leader.Leader.forget()
    sweep, rows, lost = Sweep.typed(sys.argv[1:]), list[Row](), ""
    try:
        code = launch(partial(_work, sweep, rows), Composed)
    except Exception as error:
        if leader.Leader.runs is None:
            raise
        # Jobs keep their own errors: this is the launcher's, as of a process that was killed for its memory.
        code, lost = OK, f"{type(error).__name__}: {error}"
    if leader.Leader.runs is not None and code == OK:
        rows, refused = leader.finish(sweep, leader.Leader.runs, Console())
        code = USAGE if refused else OK
    if lost:
        return report(f"{lost.strip()}\na job was lost; the same command measures what is missing", FAILURE)
    return code or verdict(rows)


def _work(sweep: Sweep, rows: list[Row], composed: Composed) -> float | None:
    """Do a comparison, one per profile, or a job of a sweep; other processes than the first have no use for `rows`."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from harness.commands import suite
    from harness.sweeps import work

    hydra: Any = HydraConfig.get()
    sweeping, in_profiles = hydra.mode is RunMode.MULTIRUN, compose.goes_through_profiles(composed)
    if sweeping and in_profiles:
        raise BadInput("a job of --multirun compares in one profile, and `profiles` lists several; set profiles=[]")
    if sweeping:
        return work.take(sweep, hydra.job.num, composed, _compare)
    if in_profiles:
        rows += suite.run(compose.suite_configs(*composed))
        return None
    config = compose.bench_config(*composed)
    if config.dry_run:
        suite.show_plans([config])
    else:
        rows += _compare(config).rows
    return None


def _compare(config: BenchConfig) -> Outcome:
    from rich.console import Console

    from harness import tracking
    from harness.bench import run as bench
    from harness.tables import table

    tracking.ensure_available(config.tracking)
    console = Console()
    outcome = bench.run(config, console)
    home = Path(config.runs) / outcome.key
    bench.publish(outcome, home)
    if config.output is not None:
        bench.publish(outcome, Path(config.output))
    table.show(outcome.rows, console)
    console.print(f"records: {home}, summary: {Path(config.output or home) / 'summary.json'}", highlight=False)
    tracking.mirror([outcome], outcome.key, Path(config.output or home), console)
    return outcome
