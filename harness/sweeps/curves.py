"""What the jobs of a sweep say together: systems side by side where nothing else differs, and curves where it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from harness.bench.run import Outcome
from harness.records.summary_file import Row
from harness.tables import columns, table
from harness.tables.columns import Column, Section
from harness.verdict import relative as standing

CURVES = (("TPOT ms", columns.TPOT._replace(interval=False)), ("Hit rate", columns.HIT_RATE))
Cells = Mapping[tuple[str, str], Row]
"""Rows by system and point of a sweep."""


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print comparisons across jobs, then TPOT and hit rate over what was swept."""
    alike: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        alike.setdefault(repr(outcome.config.identity() | {"systems": None}), []).append(outcome)
    for group in alike.values():
        if len({label for outcome in group for label in outcome.folders}) > len(group[0].folders):
            console.print("\nOne after the other, not interleaved: drift of the machine is in these speedups and gaps.")
            table.show(_together(group), console)
    drawn = curves(outcomes)
    table.draw(drawn, console)
    if any(text.endswith("*") for found in drawn for line in found.lines for text in line):
        table.say(["* not `ok`: the table of that job says why"], console)


def curves(outcomes: Sequence[Outcome]) -> list[Section]:
    """Return a table per metric with a line per system and a column per point; none where nothing was swept."""
    swept, points = _points(outcomes)
    if not swept:
        return []
    pairs = list(zip(outcomes, points, strict=True))
    cells = {(row["system"], point): row for outcome, point in pairs for row in outcome.rows}
    return [_curve(f"{title} over {swept}", cells, list(dict.fromkeys(points)), column) for title, column in CURVES]


def _together(group: Sequence[Outcome]) -> list[Row]:
    """Return the rows of all jobs with speedups and gaps among them; no bound is judged, as the machine may drift."""
    folders = {label: folder for outcome in group for label, folder in outcome.folders.items()}
    systems = {label: system for outcome in group for label, system in outcome.config.systems.items()}
    rows = list({row["system"]: row for outcome in group for row in outcome.rows}.values())
    sides, config = standing.sides_of(rows, folders), group[0].config
    rows = standing.with_gaps(rows, sides, systems)
    return standing.with_speedups(rows, sides, config.baselines)


def _points(outcomes: Sequence[Outcome]) -> tuple[str, list[str]]:
    """Return what was swept and its value in each job; options of systems count where nothing else differs."""
    flat = [dict(_flatten(outcome.config.identity())) for outcome in outcomes]
    shared = [key for key in flat[0] if all(key in values for values in flat)]
    differing = [key for key in shared if len({repr(values[key]) for values in flat}) > 1]
    keys = [key for key in differing if not key.startswith("systems.")] or differing
    names = {key.rpartition(".")[2]: key for key in reversed(keys)}
    points = [", ".join(str(values[key]) for key in names.values()) for values in flat]
    return ", ".join(names), points


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _curve(title: str, cells: Cells, points: Sequence[str], column: Column) -> Section:
    rows = {label: row for (label, _), row in cells.items()}
    ordered = sorted(rows, key=lambda label: not rows[label]["lossless"])
    lines = [(columns.name(rows[label]), *(_value(cells.get((label, p)), column) for p in points)) for label in ordered]
    lossless = sum(row["lossless"] for row in rows.values())
    return Section(title, ("system", *points), (column.metric,), lines, lossless)


def _value(row: Row | None, column: Column) -> str:
    """Print a cell; numbers under a verdict other than `ok` are starred."""
    if row is None:
        return columns.UNKNOWN
    return columns.cell(row, column) + ("" if row["status"] == "ok" else "*")
