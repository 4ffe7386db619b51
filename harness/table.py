"""The table at the end, drawn from rows of `summary.json` alone: on a terminal and as Markdown.

Three narrow tables instead of a wide one, so that 80 columns suffice: how fast, what moved, where the time
goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from harness.metrics import acceptance, breakdown, correctness, experts, speedup, stall, tpot
from harness.records import Row

UNKNOWN = "-"
FOLDED = ("system", "status")
"""Columns that give way on a narrow terminal."""
LEGEND = (
    tpot.TPOT, speedup.SPEEDUP, correctness.EXACT_MATCH, acceptance.RATE, acceptance.LENGTH, experts.HIT_RATE,
    experts.MOVED, stall.STALL_SHARE, breakdown.PART, breakdown.RESIDUAL,
)  # fmt: skip


class Section(NamedTuple):
    """One table: a title, column names, and a line of texts per system."""

    title: str
    columns: tuple[str, ...]
    lines: list[tuple[str, ...]]


Format = Callable[[float], str]
Column = tuple[str, str, Format, bool]
"""Heading, metric id, how to print a value, and whether to print its interval."""


def _fixed(digits: int, scale: float = 1.0) -> Format:
    return lambda value: f"{value * scale:.{digits}f}"


MILLISECONDS = _fixed(2, 1e3)
MOVED: tuple[Column, ...] = (
    ("hit rate", "hit_rate", _fixed(3), False),
    ("accept. rate", "acceptance_rate", _fixed(3), False),
    ("length", "acceptance_length", _fixed(2), False),
    ("MiB/token", "bytes_per_token", _fixed(3, 2**-20), False),
    ("stall", "stall_share", _fixed(3), False),
    ("exact", "exact_match", _fixed(3), False),
)
TIMES: tuple[Column, ...] = (
    ("TPOT", "tpot", MILLISECONDS, False),
    *((name, f"breakdown_{name}", MILLISECONDS, False) for name in ("draft", "verify", "transfer", "host")),
    ("residual", "residual", _fixed(1, 100), False),
)


def sections(rows: Sequence[Row]) -> list[Section]:
    """Return the three tables of a comparison."""
    baselines = [row["system"] for row in rows if any(_speedup(row["system"]) in r["metrics"] for r in rows)]
    speedups: tuple[Column, ...] = tuple((f"x {name}", _speedup(name), _fixed(2), True) for name in baselines)
    speed = (("TPOT ms", "tpot", MILLISECONDS, True), *speedups)
    return [
        _section(f"Speed {_setting(rows)}", rows, speed, status=True),
        _section("Experts and drafts", rows, MOVED),
        _section("Where a token's time goes, ms (residual in %)", rows, TIMES),
    ]


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the tables, why anything is not `ok`, and what the numbers mean."""
    for section in sections(rows):
        console.print(f"\n[bold]{escape(section.title)}[/bold]", highlight=False)
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for column in section.columns:
            folds = column in FOLDED
            side: JustifyMethod = "left" if folds else "right"
            table.add_column(column, justify=side, overflow="fold", no_wrap=not folds)
        for line in section.lines:
            table.add_row(*map(escape, line))
        console.print(table)
    for text in (*remarks(rows), *legend()):
        console.print(text, style="dim", markup=False, highlight=False)


def markdown(rows: Sequence[Row]) -> str:
    """Return the same as Markdown."""
    parts: list[str] = []
    for title, columns, lines in sections(rows):
        body = [columns, ("---",) + ("---:",) * (len(columns) - 1), *lines]
        parts.append(f"**{title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in body))
    parts.append("\n".join(f"- {text}" for text in (*remarks(rows), *legend())))
    return "\n\n".join(parts) + "\n"


def remarks(rows: Sequence[Row]) -> list[str]:
    """Say why a system is not `ok`, and that an emulated link was used."""
    texts = [f"{row['system']}: {row['status']}: {row['reason']}" for row in rows if row["status"] != "ok"]
    if any(row["emulated"] for row in rows):
        texts.append(f"emulated: transfers are paced to the ratio of {rows[0]['hardware']}, not its speed")
    return texts


def legend() -> list[str]:
    """Return the definitions behind the columns."""
    return [f"{item.id} ({item.unit}): {item.text}" for item in LEGEND]


def _speedup(baseline: str) -> str:
    return f"speedup_over_{baseline}"


def _setting(rows: Sequence[Row]) -> str:
    first = rows[0]
    hardware = first["hardware"] + (" (emulated)" if first["emulated"] else "")
    budget = f"{first['budget_bytes'] / 2**20:.1f} MiB"
    return f"on {first['model']}, {first['dataset']}, {hardware}, batch {first['batch']}, {budget}"


def _section(title: str, rows: Sequence[Row], columns: Sequence[Column], status: bool = False) -> Section:
    heads = ("system", *(["status"] if status else []), *(column[0] for column in columns))
    lines = [
        (
            row["system"],
            *([row["status"]] if status else []),
            *(_cell(row, id, form, interval) for _, id, form, interval in columns),
        )
        for row in rows
    ]
    return Section(title, heads, lines)


def _cell(row: Row, id: str, form: Format, interval: bool) -> str:
    entry = row["metrics"].get(id)
    if entry is None or entry["value"] is None:
        return UNKNOWN
    if not interval or entry["low"] is None:
        return form(entry["value"])
    return f"{form(entry['value'])} [{form(entry['low'])}, {form(entry['high'])}]"
