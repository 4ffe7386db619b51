"""One table for a run over several hardware profiles: a block per profile, each system's verdict in a line."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from harness.records.summary_file import Row
from harness.tables import accuracy as report
from harness.tables import columns, table
from harness.tables.columns import Column, Section, section
from harness.terminal import grid


def show(rows: Sequence[Row], console: Console) -> None:
    """Print a block per profile: one table where the terminal is wide enough for it, else two,
    which go on below where it is narrow."""
    for block in blocks(rows):
        whole = _whole(block)
        drawn = [whole] if grid.width(whole.columns, whole.lines) <= console.width else _halves(block)
        table.draw([*drawn, *report.sections(block)], console)
        table.say(table.remarks(block), console)
    table.say(["", *_legend(rows)], console)


def markdown(rows: Sequence[Row]) -> str:
    """Return the same as Markdown."""
    texts = [table.as_markdown(_drawn(block), table.remarks(block)) for block in blocks(rows)]
    return "\n".join([*texts, table.as_markdown([], _legend(rows))])


def blocks(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows by what they share, one profile each."""
    names = dict.fromkeys(columns.setting([row]) for row in rows)
    return [[row for row in rows if columns.setting([row]) == name] for name in names]


def _drawn(rows: Sequence[Row]) -> list[Section]:
    return [_whole(rows), *report.sections(rows)]


def _whole(rows: Sequence[Row]) -> Section:
    return section(_title(rows), rows, [*_speed(rows), *columns.GAPS, *columns.brief()], status=True)


def _halves(rows: Sequence[Row]) -> list[Section]:
    return [
        section(_title(rows), rows, [*_speed(rows), *columns.GAPS], status=True),
        section(f"Experts and drafts, {rows[0]['hardware']}", rows, columns.brief()),
    ]


def _speed(rows: Sequence[Row]) -> list[Column]:
    names = columns.baselines(rows)[:1]
    return [*columns.times(rows), *(columns.over(name, interval=False) for name in names), columns.BEST]


def _title(rows: Sequence[Row]) -> str:
    return f"Systems {columns.setting(rows)}"


def _legend(rows: Sequence[Row]) -> list[str]:
    return table.legend(found for block in blocks(rows) for found in _drawn(block))
