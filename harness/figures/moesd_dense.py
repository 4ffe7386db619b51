"""MoE against dense: MoESD's figure 3, speedup over the batch at the same active weights and acceptance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.figures.drawing import scales, style
from harness.figures.drawing.base import Data, Figure, rounded
from harness.figures.moesd_activation import MOESD

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure as Canvas

KINDS = {
    "moe": ("Mixture of Experts", style.VERMILLION, "D"),
    "dense": ("dense, as many active weights", style.BLUE, "o"),
}
RATIOS = {"speedup": "speedup over plain decoding", "target_efficiency": "target efficiency"}


def collect(measured: Mapping[str, Any]) -> Data:
    """Both ratios of both models by draft length, over the batch."""
    own = [point for point in measured["points"] if point["top_k"] == measured["top_k"]]
    batches = sorted({point["batch"] for point in own})
    kinds = {"moe": own, "dense": measured["dense"]}
    found = {(kind, p["draft_length"], p["batch"]): p for kind, points in kinds.items() for p in points}
    return {
        "batches": batches,
        "curves": [
            {"draft_length": length}
            | {
                kind: {name: [rounded(found[kind, length, batch][name]) for batch in batches] for name in RATIOS}
                for kind in KINDS
            }
            for length in sorted({point["draft_length"] for point in own})
        ],
    }


def draw(data: Data, canvas: Canvas) -> None:
    """Speedup on the left, target efficiency on the right; short drafts dashed, long ones solid."""
    panels = canvas.subplots(1, 2)
    for axes, (name, label) in zip(panels, RATIOS.items(), strict=True):
        for place, curve in enumerate(data["curves"]):
            how = "-" if place == len(data["curves"]) - 1 else "--"
            for kind, (text, colour, mark) in KINDS.items():
                said = f"{text}, drafts of {curve['draft_length']}"
                axes.plot(data["batches"], curve[kind][name], how, color=colour, marker=mark, markersize=4, label=said)
        scales.over_batches(axes, data["batches"])
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
    panels[0].axhline(1, color=style.GREY, linestyle=":")
    panels[0].set_ylim(top=max(1.05, panels[0].get_ylim()[1]))
    canvas.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=2)


FIGURE = Figure(
    name="moesd_dense",
    title="Mixture of Experts and dense: what speculation gains over the batch",
    sources=(MOESD,),
    collect=collect,
    draw=draw,
    size=(9.0, 4.6),
)
