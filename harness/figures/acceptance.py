"""Acceptance of drafts by draft length and by position, with what the papers report of their pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.figures import style
from harness.figures.base import Data, Figure, cited, entry, point, rounded
from harness.figures.sources import Experiment
from harness.papers import Reported
from harness.published import Summary
from harness.records import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

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
    for name, label in DRAFTERS.items():
        style.line(left, name, data["lengths"], data["rates"][name], "rate", label)
        style.line(right, name, data["lengths"], data["positions"][name], "conditional", label)
    _reported(left, data)
    left.set_xlabel("draft length (tokens)")
    left.set_ylabel("accepted drafts (% of drafted)")
    left.set_title("acceptance rate")
    right.set_xlabel("position in the draft")
    right.set_ylabel("accepted (% of those whose predecessor was)")
    right.set_title(f"by position, drafts of {data['lengths'][-1]}")
    for axes in (left, right):
        axes.set_ylim(0, 103)
        axes.legend(loc="lower left")


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
        look = style.REPORTED | {"marker": "Dos"[place % 3]}
        axes.plot([1 + 0.12 * (place - 1)], [one["rate"]], label=f"reported: {one['model']}", **look)
    axes.annotate(data["citation"], (1.4, 97.5), fontsize=7, color="#555555", va="center")


FIGURE = Figure(
    name="acceptance",
    title="Acceptance of drafts",
    sources=(Experiment("draft_length"),),
    collect=collect,
    draw=draw,
    size=(10.0, 4.2),
    papers=("sp_moe",),
)
