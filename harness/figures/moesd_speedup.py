"""When does speculation pay? MoESD's figures 2 and 4: speedup and target efficiency over the batch, with the fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.figures import style
from harness.figures.base import Data, Figure, rounded
from harness.figures.moesd_activation import MOESD

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

COLOURS = (style.BLUE, style.GREEN, style.ORANGE, style.VERMILLION, style.PURPLE, style.SKY)
PARTS = {
    "speedup": ("predicted", "speedup over plain decoding"),
    "target_efficiency": ("predicted_target_efficiency", "target efficiency"),
}


def collect(measured: Mapping[str, Any]) -> Data:
    """Both ratios by draft length and experts per token, over the batch."""
    points = measured["points"]
    batches = sorted({point["batch"] for point in points})
    found = {(p["draft_length"], p["top_k"], p["batch"]): p for p in points}
    names = [*PARTS, *(predicted for predicted, _ in PARTS.values())]
    curves = [
        {
            "draft_length": length,
            "top_k": top_k,
            "fitted": [found[length, top_k, batch]["fitted"] for batch in batches],
            **{name: [rounded(found[length, top_k, batch][name]) for batch in batches] for name in names},
        }
        for length, top_k in sorted({(p["draft_length"], p["top_k"]) for p in points})
    ]
    error = measured["mean_absolute_error"]["held_out"]
    return {"batches": batches, "curves": curves, "held_out_error": None if error is None else rounded(error)}


def draw(data: Data, canvas: Canvas) -> None:
    """A column per draft length; measured are points, those that were fitted filled, predicted are lines."""
    lengths = sorted({curve["draft_length"] for curve in data["curves"]})
    grid = canvas.subplots(2, len(lengths), sharex=True, squeeze=False)
    for column, length in enumerate(lengths):
        mine = [curve for curve in data["curves"] if curve["draft_length"] == length]
        for row, (name, (predicted, label)) in enumerate(PARTS.items()):
            axes = grid[row][column]
            for curve, colour in zip(mine, COLOURS, strict=False):
                axes.plot(data["batches"], curve[predicted], color=colour, label=f"K = {curve['top_k']}")
                for batch, value, fitted in zip(data["batches"], curve[name], curve["fitted"], strict=True):
                    axes.plot(batch, value, "o", markersize=4, color=colour, **({} if fitted else style.UNSOUND))
            axes.set_ylabel(label)
            axes.set_ylim(bottom=0)
        grid[0][column].axhline(1, color=style.GREY, linestyle=":")
        grid[0][column].set_title(f"drafts of {length}; filled points were fitted, hollow ones held out")
        grid[1][column].set_xlabel("batch")
    grid[0][0].legend(loc="best")


FIGURE = Figure(
    name="moesd_speedup",
    title="Speedup and target efficiency over the batch: measured, and MoESD's model",
    sources=(MOESD,),
    collect=collect,
    draw=draw,
    size=(9.5, 6.5),
)
