"""SP-MoE less one idea at a time, and what each is worth prompt by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.figures.drawing import scales, shapes, style
from harness.figures.drawing.base import Data, Figure, entry, point
from harness.figures.drawing.sources import Experiment, rows_of
from harness.records.published import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

WHOLE = "sp_moe"
MEANING = {
    "sd_offload": "no predictor (sd_offload)",
    "sp_moe@0": "cutoff at 0: nothing prefetched",
    "sp_moe@all": "no cutoff: all layers",
    "sp_moe@no_worker": "no worker: drafting waits",
    "sp_moe@batched_io": "four experts per call",
    "sp_moe": "SP-MoE whole",
    "sd_oracle": "perfect prediction (sd_oracle)",
}


def collect(summaries: Sequence[Summary]) -> Data:
    """TPOT and its parts in ms, and speedup over the whole."""
    return {
        "systems": [
            entry(
                row, label=MEANING.get(row["system"], row["system"]), tpot=point(row, "tpot", 1e3),
                speedup=point(row, f"speedup_over_{WHOLE}"),
                **{name: point(row, f"breakdown_{name}", 1e3) for name in style.PARTS},
            )
            for row in rows_of(summaries)
        ],
        "hardware": summaries[0].rows[0]["hardware"],
    }  # fmt: skip


def draw(data: Data, canvas: Canvas) -> None:
    """Stacked TPOT on the left, the paired ratio on the right."""
    left, right = canvas.subplots(1, 2, width_ratios=[3, 2])
    found = [item for item in data["systems"] if item["tpot"]]
    found.sort(key=lambda item: item["system"] != WHOLE)
    shapes.stacked(left, found)
    canvas.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(style.PARTS))
    left.set_title(data["hardware"])
    _ratios(right, found)
    scales.names_on(left, [item["label"] for item in found])
    scales.names_on(right, [""] * len(found))


def _ratios(axes: Axes, found: Sequence[Data]) -> None:
    axes.axvline(1, color=style.BLACK, linewidth=0.8)
    for height, item in enumerate(found):
        if item["speedup"] is not None:
            axes.errorbar(
                [item["speedup"]["value"]], [height], xerr=shapes.errors([item["speedup"]]), marker="o", capsize=2,
                color=style.FAMILIES[style.kind_of(item)], **style.hollow(item),
            )  # fmt: skip
    axes.set_title("above 1: faster than the whole")
    axes.set_xlabel("speedup over SP-MoE, paired over prompts")


FIGURE = Figure(
    name="ablation",
    title="SP-MoE less one idea at a time",
    sources=(Experiment("ablation"),),
    collect=collect,
    draw=draw,
    size=(9.5, 4.4),
)
