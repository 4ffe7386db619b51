"""Running many programs, a few at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from rich.console import Console
from rich.progress import track

from harness.sandbox.outcome import DEFAULT, Limits, Outcome, Verdict
from harness.sandbox.run import run_program, strongest

MOST_WORKERS = 4


def run_programs(
    sources: Sequence[str], limits: Limits = DEFAULT, console: Console | None = None, label: str = "executing"
) -> list[Outcome]:
    """Run programs side by side, each in its own sandbox; return their outcomes in order.

    A program whose wall-clock time ran out before its CPU time may have been kept waiting by the others: it is run
    once more, alone, and that run counts.
    """
    strongest()  # found before threads could look for it twice
    screen = console or Console(quiet=True)
    pool = ThreadPoolExecutor(min(MOST_WORKERS, os.cpu_count() or 1))
    try:
        ended = pool.map(lambda source: run_program(source, limits), sources)
        outcomes = list(track(ended, label, total=len(sources), console=screen, transient=True))
    finally:
        pool.shutdown(cancel_futures=True)  # when interrupted, without those that wait
    return [_again(source, limits) if _kept_waiting(outcome, limits) else outcome
            for source, outcome in zip(sources, outcomes, strict=True)]  # fmt: skip


def _kept_waiting(outcome: Outcome, limits: Limits) -> bool:
    return outcome.verdict is Verdict.TIMED_OUT and outcome.cpu < limits.cpu - 0.5


def _again(source: str, limits: Limits) -> Outcome:
    outcome = run_program(source, limits)
    return replace(outcome, detail=f"{outcome.detail} (run again alone, after a timeout among others)")
