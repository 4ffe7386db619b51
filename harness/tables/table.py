"""The table at the end, drawn from rows of `summary.json` alone: on a terminal and as Markdown.

Narrow tables instead of a wide one, so that 80 columns suffice: how fast, what moved, where the time goes, and how
right the outputs are. In fewer columns a table goes on below (`harness.terminal.grid`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape

from harness.metrics import oracle_gap, speedup
from harness.records.summary_file import Row
from harness.tables import accuracy as report
from harness.tables import columns
from harness.tables.columns import Column, Section, fixed, section
from harness.terminal import grid

CHOSEN = (speedup.BEST, oracle_gap.GAP, oracle_gap.ANY)
"""Ratios to a system that each row has chosen for it."""
DRIFT = 1.15
"""Change of speed, either way, that is told: more than what is left of noise in the median that links rest on."""
TIMES = (
    columns.TPOT._replace(heading="TPOT", interval=False),
    *(Column(name, f"breakdown_{name}", columns.TPOT.form) for name in ("draft", "verify", "transfer", "host")),
    Column("residual", "residual", fixed(1, 100)),
)


def sections(rows: Sequence[Row]) -> list[Section]:
    """Return the tables of a comparison."""
    return [
        section(f"Speed {columns.setting(rows)}", rows, _speed(rows), status=True),
        section("Experts and drafts", rows, columns.experts_and_drafts()),
        section("Where a token's time goes, ms (residual in %)", rows, TIMES),
        *report.sections(rows),
    ]


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the tables, why anything is not `ok`, and what the numbers mean."""
    drawn = sections(rows)
    draw(drawn, console)
    say((*remarks(rows), *legend(drawn)), console)


def draw(drawn: Iterable[Section], console: Console) -> None:
    """Print tables one below the other."""
    for found in drawn:
        console.print(f"\n[bold]{escape(found.title)}[/bold]", highlight=False)
        grid.draw(found.columns, found.lines, console, section=found.lossless)


def say(texts: Iterable[str], console: Console) -> None:
    """Print lines that are not the result itself."""
    for text in texts:
        console.print(text, style="dim", markup=False, highlight=False)


def markdown(rows: Sequence[Row]) -> str:
    """Return the same as Markdown."""
    drawn = sections(rows)
    return as_markdown(drawn, (*remarks(rows), *legend(drawn)))


def as_markdown(drawn: Iterable[Section], texts: Iterable[str]) -> str:
    """Return tables and the lines below them."""
    parts: list[str] = []
    for found in drawn:
        body = [found.columns, ("---",) + ("---:",) * (len(found.columns) - 1), *found.lines]
        parts.append(f"**{found.title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in body))
    parts.append("\n".join(f"- {text}" for text in texts))
    return "\n\n".join(parts) + "\n"


def remarks(rows: Sequence[Row]) -> list[str]:
    """Say why a system is not `ok`, what chosen ratios are over, that a link was emulated, and whether the machine
    kept its speed."""
    texts = [f"{row['system']}: {row['status']}: {row['reason']}" for row in rows if row["status"] != "ok"]
    if any(row["status"] == "diverged" for row in rows):
        texts.append("diverged: `python -m harness losslessness results/runs/KEY` tells ties of rounding from bugs")
    texts += [text for id in CHOSEN if (text := _over(id, rows))]
    if any(row["emulated"] for row in rows):
        texts.append(f"emulated: transfers are paced to the ratio of {rows[0]['hardware']}, not its speed")
    return [*texts, *_drifted(rows), *report.remarks(rows)]


def _drifted(rows: Sequence[Row]) -> list[str]:
    """Warn where links and choices rest on layer times that did not hold; said of the worst comparison."""
    drifts = [(row.get("layer_drift") or 1.0, row["emulated"]) for row in rows]
    drift, emulated = max(drifts, key=lambda one: abs(math.log(one[0])), default=(1.0, False))
    if 1 / DRIFT < drift < DRIFT:
        return []
    links = f", so that transfers lasted {1 / drift:.2f} times as many layers as meant" if emulated else ""
    return [
        f"the machine changed its speed: a layer took {drift:.2f} times as long after the run as when it was timed for "
        f"it{links}; run again when it is quiet (make doctor)"
    ]


def legend(drawn: Iterable[Section]) -> list[str]:
    """Return the definitions behind the columns that are there."""
    shown = dict.fromkeys(id for found in drawn for id in found.metrics)
    known = dict.fromkeys(definition for id in shown if (definition := columns.definition_of(id)))
    return [f"{item.id} ({item.unit}): {item.text}" for item in known]


def _speed(rows: Sequence[Row]) -> list[Column]:
    """Return TPOT and what it is compared with; of many baselines the first and, for each system, the best."""
    names = columns.baselines(rows)
    many, gaps = len(names) > 2, [column for column in columns.GAPS if columns.known(rows, column)]
    chosen = [columns.over(name, interval=not many and not gaps) for name in (names[:1] if many else names)]
    chosen += [columns.BEST] if many else []
    return [*columns.times(rows), *chosen, *gaps]


def _over(id: str, rows: Sequence[Row]) -> str | None:
    """Say which system a ratio is over: the usual one, then those that differ."""
    names = {row["system"]: over for row in rows if (over := row["metrics"].get(id, {}).get("over"))}
    if not names:
        return None
    usual = Counter(names.values()).most_common(1)[0][0]
    others = {over: [label for label in names if names[label] == over] for over in names.values() if over != usual}
    exceptions = [f"{over} for {', '.join(labels)}" for over, labels in others.items()]
    return f"{id} is over {'; '.join([usual, *exceptions])}"
