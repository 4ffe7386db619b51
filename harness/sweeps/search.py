"""What a search goes by, and what it found."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records.summary_file import Row
from harness.sweeps import tidy
from harness.sweeps.jobs import Job
from harness.tables import columns
from harness.tables.columns import Section
from harness.verdict.status import FAILING

WORST = float("inf")
"""What a search is told of a point that cannot be measured."""
SHOWN = 5


def objective(rows: Sequence[Row]) -> float:
    """Return what a search minimises: the TPOT (s) of the only, or first, system of a job."""
    value: float | None = rows[0]["metrics"].get("tpot", {}).get("value")
    return WORST if value is None or any(row["status"] in FAILING for row in rows) else value


def fastest(jobs: Sequence[Job], rows: Sequence[Sequence[Row]]) -> Section:
    """Return the jobs of least TPOT, best first, with the values that were searched; a point counts once."""
    values, first = tidy.points(jobs), {job.key: place for place, job in reversed(list(enumerate(jobs)))}
    places = sorted(first.values(), key=lambda place: objective(rows[place]))[:SHOWN]
    heads = ("job", columns.TPOT.heading, *(name.rpartition(".")[2].removeprefix("p_") for name in values[0]))
    lines = [
        (
            str(jobs[place].number),
            columns.cell(rows[place][0], columns.TPOT),
            *(_text(value) for value in values[place].values()),
        )
        for place in places
        if objective(rows[place]) < WORST
    ]
    return Section(f"Fastest of {len(first)} points", heads, (columns.TPOT.metric,), lines, len(lines))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
