"""Acceptance of drafts by draft length and by position, with what the papers report of their pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.figures.drawing import scales, shapes
from harness.figures.drawing.base import Data, Figure, cited, entry, point, rounded
from harness.figures.drawing.sources import Experiment
from harness.records.papers import Reported
from harness.records.published import Summary
from harness.records.summary_file import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

DRAFTERS = {"sd_offload": "draft model", "moe_speq": "INT4 self-draft"}
"""Systems of the sweep with the drafters that they stand for; the others draft with the same model."""


def collect(summaries: Sequence[Summary], *reported: Sequence[Reported]) -> Data:
    """Rates in percent by draft length, and by position in the longest drafts."""
    lengths = [int(summary.point) for summary in summaries]
    found = [one for part in reported for one in part if one.metric == "acceptance_rate" and one.model != "all"]
    return {
        "lengths": lengths,
        "rates": {name: [_rate(summary, name) for summary in summaries] for name in DRAFTERS},
        "positions": {name: _positions(_row(summaries[-1], name), lengths[-1]) for name in DRAFTERS},
        "reported": [
            {"model": one.model, "draft": one.settings.get("draft", ""), "rate": rounded(one.value)} for one in found
        ],
        "citation": cited(found),
    }


def draw(data: Data, canvas: Canvas) -> None:
    """By draft length on the left, by position on the right."""
    left, right = canvas.subplots(1, 2, sharey=True)
    for place, (name, label) in enumerate(DRAFTERS.items()):
        at = shapes.beside(data["lengths"], place, len(DRAFTERS), 0.14)
        shapes.line(left, name, at, data["rates"][name], "rate", label)
        shapes.line(right, name, at, data["positions"][name], "conditional", label)
    _reported(left, data)
    left.set_xlabel("draft length (tokens)")
    left.set_ylabel("accepted drafts (% of drafted)")
    left.set_title("by draft length")
    right.set_xlabel("position in the draft")
    right.set_ylabel("accepted (% of those reached)")
    right.set_title(f"by position in drafts of {data['lengths'][-1]}")
    for axes in (left, right):
        axes.set_ylim(0, 103)
        axes.set_xticks(data["lengths"])
    shapes.key(left, _drawn(data["rates"]), loc="lower left", ncols=2)
    shapes.key(right, _drawn(data["positions"]), loc="lower left")


def _drawn(by_drafter: Mapping[str, Sequence[Data]]) -> list[Data]:
    return [item for found in by_drafter.values() for item in found]


def _row(summary: Summary, name: str) -> Row:
    return next(row for row in summary.rows if row["system"] == name)


def _rate(summary: Summary, name: str) -> Data:
    row = _row(summary, name)
    return entry(row, rate=point(row, "acceptance_rate", 1e2))


def _positions(row: Row, longest: int) -> list[Data]:
    return [
        entry(row, conditional=point(row, f"acceptance_conditional_{place}", 1e2)) for place in range(1, longest + 1)
    ]


def _reported(axes: Axes, data: Data) -> None:
    """Draft length 1, side by side so that they can be told apart."""
    for place, one in enumerate(data["reported"]):
        shapes.reported(axes, [1 + 0.16 * (place - 1)], [one["rate"]], f"reported: {one['model']}", place)
    scales.cite(axes, f"reported: {data['citation']}")


FIGURE = Figure(
    name="acceptance",
    title="Acceptance of drafts",
    sources=(Experiment("draft_length"),),
    collect=collect,
    draw=draw,
    size=(9.5, 4.4),
    papers=("sp_moe",),
)
