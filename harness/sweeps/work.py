"""One job of a sweep, in whatever process its launcher has chosen."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial

from rich.console import Console

from harness.bench.run import Outcome
from harness.config import compose
from harness.config.bench import BenchConfig
from harness.config.compose import Composed, Plain
from harness.records.files import CannotWrite
from harness.records.provenance import scrub
from harness.records.summary_file import Row
from harness.sweeps import estimate
from harness.sweeps.jobs import Job, Sweep
from harness.sweeps.search import WORST, objective
from systems.api import BadInput


def take(sweep: Sweep, number: int, composed: Composed, measure: Callable[[BenchConfig], Outcome]) -> float:
    """Do a job and keep what became of it, so that the others go on; return TPOT (s), which a search minimises.

    Raises:
        CannotWrite: the folder of records is full or read-only.
    """
    runs = str(composed.plain["runs"])
    if sweep.stopped(runs):
        job, tpot = Job(number, tuple(composed.overrides), "skipped"), WORST
    else:
        job, tpot = _attempt(sweep, number, composed, measure)
    sweep.record(runs, job)
    if tpot == WORST and job.state != "planned" and composed.plain["fail_fast"]:
        sweep.stop(runs)
    return tpot


def _attempt(
    sweep: Sweep, number: int, composed: Composed, measure: Callable[[BenchConfig], Outcome]
) -> tuple[Job, float]:
    job = partial(Job, number, tuple(composed.overrides))
    try:
        config = _grouped(compose.bench_config(*composed), sweep)
        if config.dry_run:
            return planned(config, number, composed.overrides), WORST
        outcome = measure(config)
    except CannotWrite:
        raise
    except BadInput as error:
        return _told(job("refused", reason=str(error))), WORST
    except Exception as error:
        rows = [_row(composed.plain, label, error) for label in _labels(composed)]
        return _told(job("failed", reason=rows[0]["reason"], rows=rows)), WORST
    return job("finished", key=outcome.key, config=asdict(config)), objective(outcome.rows)


def planned(config: BenchConfig, number: int = 0, overrides: Sequence[str] = ()) -> Job:
    """Return a job that is not to be measured.

    Raises:
        BadInput: the dataset cannot be read.
    """
    plan = estimate.plan(config)
    return Job(number, tuple(overrides), "planned", plan.key, asdict(config), seconds=plan.seconds)


def _grouped(config: BenchConfig, sweep: Sweep) -> BenchConfig:
    """Let a tracker show the cells of a sweep together, unless it was told another group."""
    return replace(config, tracking=replace(config.tracking, group=config.tracking.group or sweep.name))


def _told(job: Job) -> Job:
    """Say at once what went wrong: the other jobs may take hours."""
    Console(stderr=True).print(str(job), markup=False, highlight=False)
    return job


def _labels(composed: Composed) -> list[str]:
    try:
        return list(compose.bench_config(*composed).systems)
    except Exception:  # the config itself is what failed
        return [str(composed.plain["system"]["name"])]


def _row(plain: Plain, label: str, error: Exception) -> Row:
    """Return the row of a cell that could not be measured: what failed was not its system alone."""
    text = scrub("".join(traceback.format_exception(error)))
    return {
        "system": label,
        **{group: plain[group]["name"] for group in ("model", "dataset", "hardware")},
        "emulated": plain["hardware"].get("emulate") is not None,
        "replayed": plain["replay"] is not None,
        "batch": plain["measure"]["batch"],
        "lossless": True,
        "status": "failed",
        "reason": text.strip().splitlines()[-1],
        "error": text,
        "metrics": {},
    }
