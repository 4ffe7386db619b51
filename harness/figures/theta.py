"""MoE-SpeQ's roofline: theta(k), the tokens per second of a cycle that drafts k, predicted and measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.figures.drawing import shapes, style
from harness.figures.drawing.base import Data, Figure, entry, point, rounded
from harness.figures.drawing.sources import Experiment
from harness.records.published import Summary
from harness.records.summary_file import Row

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure as Canvas

FIXED, GOVERNED = "moe_speq", "moe_speq@governed"


def collect(summaries: Sequence[Summary]) -> Data:
    """Tokens per second by draft length.

    Measured: every length was fixed for a run of its own. Predicted: what the governor believed when it was free to
    choose up to the longest.
    """
    lengths = [int(summary.point) for summary in summaries]
    governed = _row(summaries[-1], GOVERNED)
    predicted: dict[str, Any] = {} if governed is None else governed["description"].get("theta_predicted", {})
    return {
        "lengths": lengths,
        "measured": [_measured(_row(one, FIXED), length) for one, length in zip(summaries, lengths, strict=True)],
        "predicted": [rounded(predicted[str(length)]) if str(length) in predicted else None for length in lengths],
        "chosen": None if governed is None else governed["description"].get("draft_length_chosen"),
        "hardware": summaries[0].rows[0]["hardware"],
    }  # fmt: skip


def draw(data: Data, canvas: Canvas) -> None:
    """Both curves and the length that the governor ended with."""
    axes = canvas.subplots()
    shapes.line(axes, FIXED, data["lengths"], data["measured"], "theta", "reached, k fixed")
    known = [(k, theta) for k, theta in zip(data["lengths"], data["predicted"], strict=True) if theta is not None]
    if known:
        axes.plot(
            *zip(*known, strict=True),
            color=style.BLACK,
            linestyle="--",
            marker="s",
            markersize=4,
            label="predicted by the governor",
        )
    if data["chosen"] is not None:
        axes.axvline(data["chosen"], color=style.GREY, linestyle=":", label=f"the governor's choice: {data['chosen']}")
    axes.set_title(data["hardware"])
    axes.set_xlabel("draft length k (tokens)")
    axes.set_ylabel("theta(k) (tokens per second)")
    axes.set_ylim(bottom=0)
    shapes.key(axes, data["measured"], loc="lower left")


def _row(summary: Summary, name: str) -> Row | None:
    return next((row for row in summary.rows if row["system"] == name), None)


def _measured(row: Row | None, length: int) -> Data:
    if row is None:
        return {"system": FIXED, "status": "missing", "lossless": True, "theta": None}
    return entry(row, theta=point(row, f"theta_{length}"))


FIGURE = Figure(
    name="theta",
    title="MoE-SpeQ: the governor's roofline, predicted and reached",
    sources=(Experiment("draft_length"),),
    collect=collect,
    draw=draw,
    size=(7.5, 4.4),
)
