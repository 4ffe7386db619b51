"""When does speculation pay? MoESD's figures 2 and 4: speedup and target efficiency over the batch, with the fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.figures.drawing import scales, style
from harness.figures.drawing.base import Data, Figure, rounded
from harness.figures.moesd_activation import MOESD

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure as Canvas

LOOKS = (
    (style.BLUE, "o"), (style.GREEN, "s"), (style.ORANGE, "^"), (style.VERMILLION, "D"), (style.PURPLE, "v"),
    (style.SKY, "P"),
)  # fmt: skip
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
    grid = canvas.subplots(len(PARTS), len(lengths), sharex=True, sharey="row", squeeze=False)
    for column, length in enumerate(lengths):
        mine = [curve for curve in data["curves"] if curve["draft_length"] == length]
        for axes, (name, (predicted, label)) in zip(grid[:, column], PARTS.items(), strict=True):
            for curve, (colour, mark) in zip(mine, LOOKS, strict=False):
                axes.plot(data["batches"], curve[predicted], color=colour, linewidth=1.2)
                for batch, value, fitted in zip(data["batches"], curve[name], curve["fitted"], strict=True):
                    how = {} if fitted else style.UNSOUND
                    axes.plot(batch, value, mark, markersize=5, color=colour, **how)
            axes.set_ylabel(label if column == 0 else "")
            axes.set_ylim(bottom=0)
        grid[0][column].axhline(1, color=style.GREY, linestyle=":")
        grid[0][column].set_title(f"drafts of {length}")
        scales.over_batches(grid[-1][column], data["batches"])
    _key(canvas, sorted({curve["top_k"] for curve in data["curves"]}))


def _key(canvas: Canvas, top_ks: Sequence[int]) -> None:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], color=colour, marker=mark) for _, (colour, mark) in zip(top_ks, LOOKS, strict=False)]
    names = [f"{top_k} expert{'s' if top_k > 1 else ''} a token" for top_k in top_ks]
    grey: dict[str, Any] = {"color": style.GREY, "marker": "o", "linestyle": "none"}
    marks += [Line2D([], [], color=style.GREY), Line2D([], [], **grey), Line2D([], [], **grey, **style.UNSOUND)]
    names += ["the model", "measured, fitted to", "measured, held out"]
    canvas.legend(marks, names, loc="outside lower center", ncols=4)


FIGURE = Figure(
    name="moesd_speedup",
    title="Speedup and target efficiency over the batch: measured, and MoESD's model",
    sources=(MOESD,),
    collect=collect,
    draw=draw,
    size=(9.5, 6.8),
)
