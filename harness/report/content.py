"""What a report says of a result set: tables, figures, verdicts and provenance, as plain data for any form of it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.figures import FIGURES
from harness.figures.drawing import picture
from harness.figures.drawing.base import Figure
from harness.figures.drawing.sources import command_for
from harness.records.published import Missing, Summary, Unreadable, is_marked, read_set
from harness.records.summary_file import Row
from harness.tables import columns, table
from harness.tables import suite as overview
from harness.tables.columns import Section

REMEDY = "the command that writes this folder; `python -m harness report` alone takes all sets in results/"
TIMELINE = "timeline"
FACTS = ("key", "commit", "dirty", "started", "command", "cpu", "cpus", "ram_bytes", "python", "threads")
"""Provenance that is shown without unfolding it."""


@dataclass(frozen=True)
class Block:
    """The tables of one comparison, what is not `ok` in it, and the errors of what failed."""

    title: str
    sections: list[Section]
    remarks: list[str]
    errors: list[tuple[str, str]]


@dataclass(frozen=True)
class Picture:
    """A figure as it stands on the page: `data` is a URI; without one `missing` says why."""

    name: str
    title: str
    data: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Report:
    """One result set."""

    name: str
    summaries: list[Summary]
    curves: list[Section]
    blocks: list[Block]
    definitions: list[str]
    pictures: list[Picture]
    trace: str = ""
    """The timeline for Perfetto, as a data URI."""

    @property
    def marks(self) -> list[str]:
        """`emulated`, `replayed`, where any row is."""
        return [mark for mark in ("emulated", "replayed") if is_marked(self.summaries, mark)]

    @property
    def verdicts(self) -> dict[str, int]:
        """Cells by status, the usual first."""
        return dict(Counter(row["status"] for row in self.rows).most_common())

    @property
    def rows(self) -> list[Row]:
        """All cells."""
        return [row for summary in self.summaries for row in summary.rows]

    @property
    def made(self) -> str:
        """What made it, when and where, in a line."""
        _, facts, _ = self.origins[0]
        cpus = f"{facts['cpus']} x {facts['cpu']}" if "cpu" in facts and "cpus" in facts else ""
        return " · ".join(filter(None, (facts.get("command", ""), str(facts.get("started", ""))[:10], cpus)))

    @property
    def origins(self) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Of each comparison a title, the facts that are shown, and all of them."""
        return [
            (_origin_title(summary, origin), {name: origin[name] for name in FACTS if name in origin}, origin)
            for summary in self.summaries
            for origin in summary.origins
        ]


def gather(folder: Path) -> Report:
    """Read a result set and draw its figures.

    Raises:
        Missing, Unreadable: see `harness.records.published`.
    """
    summaries = read_set(folder, command_for(folder.resolve().name) or REMEDY)
    blocks = [_block(summary, rows) for summary in summaries for rows in overview.blocks(summary.rows)]
    shown = [section for block in blocks for section in block.sections]
    name, results = folder.resolve().name, folder.resolve().parent
    figures = [figure for figure in FIGURES.values() if figure.belongs_to(name) or figure.name == TIMELINE]
    return Report(
        name,
        summaries,
        _curves(summaries),
        blocks,
        list(dict.fromkeys(table.legend(shown))),
        [_picture(figure, results) for figure in figures],
        _trace(results / "timeline/timeline.json.gz"),
    )


def _block(summary: Summary, rows: Sequence[Row]) -> Block:
    title = " · ".join(filter(None, (summary.point, columns.setting(rows).removeprefix("on "))))
    errors = [(row["system"], row["error"]) for row in rows if row.get("error")]
    return Block(title, [_captioned(found, rows) for found in table.sections(rows)], table.remarks(rows), errors)


def _captioned(found: Section, rows: Sequence[Row]) -> Section:
    """Drop from a table's title what the block's own says."""
    return found._replace(title=found.title.replace(columns.setting(rows), "").strip())


def _curves(summaries: Sequence[Summary]) -> list[Section]:
    """Return TPOT and hit rate over the points of a sweep; what is not `ok` is starred."""
    if len(summaries) < 2:
        return []
    systems = {row["system"]: row for summary in summaries for row in summary.rows}
    ordered = sorted(systems, key=lambda label: not systems[label]["lossless"])
    heads = ("system", *(summary.point for summary in summaries))
    lossless = sum(row["lossless"] for row in systems.values())
    return [
        Section(
            f"{column.heading} by point", heads, (column.metric,),
            [(columns.name(systems[label]), *_line(summaries, label, column)) for label in ordered], lossless,
        )
        for column in (columns.TPOT._replace(interval=False), columns.HIT_RATE)
    ]  # fmt: skip


def _line(summaries: Sequence[Summary], label: str, column: columns.Column) -> Iterator[str]:
    for summary in summaries:
        row = next((row for row in summary.rows if row["system"] == label), None)
        if row is None:
            yield columns.UNKNOWN
        else:
            yield columns.cell(row, column) + ("" if row["status"] == "ok" else "*")


def _picture(figure: Figure, results: Path) -> Picture:
    try:
        drawn = picture.render(figure, figure.record(results))
    except (Missing, Unreadable) as error:
        return Picture(figure.name, figure.title, missing=str(error))
    return Picture(figure.name, figure.title, _uri("image/svg+xml", drawn.encode()))


def _trace(file: Path) -> str:
    return _uri("application/gzip", file.read_bytes()) if file.is_file() else ""


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _origin_title(summary: Summary, origin: dict[str, Any]) -> str:
    hardware = origin.get("hardware", {})
    return " · ".join(filter(None, (summary.point, hardware.get("name") if isinstance(hardware, dict) else "")))
