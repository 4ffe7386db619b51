"""TPOT by dataset, MoE-SpeQ's figure 13 beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.figures.drawing import shapes, style
from harness.figures.drawing.base import Data, Figure, cited, entry, point, rounded
from harness.figures.drawing.sources import Experiment
from harness.records.papers import Reported
from harness.records.published import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

MEMORY = "low"
SHADES = (style.BLACK, style.GREY, style.SKY, style.PURPLE)
"""The paper's systems: only MoE-SpeQ is one of ours."""


def collect(summaries: Sequence[Summary], reported: Sequence[Reported]) -> Data:
    """TPOT in ms by dataset and system; of the paper the smaller of its two memories."""
    bars = [one for one in reported if one.where == "Fig. 13" and one.settings.get("memory") == MEMORY]
    return {
        "datasets": {
            summary.rows[0]["dataset"]: [entry(row, tpot=point(row, "tpot", 1e3)) for row in summary.rows]
            for summary in summaries
        },
        "hardware": summaries[0].rows[0]["hardware"],
        "reported": [
            {"system": one.system, "model": one.model, "tpot": rounded(one.seconds * 1e3)} for one in bars
        ],
        "citation": cited(bars),
    }  # fmt: skip


def draw(data: Data, canvas: Canvas) -> None:
    """Groups of bars per dataset on the left, per model of the paper on the right."""
    ours, theirs = canvas.subplots(1, 2)
    _ours(ours, data)
    _theirs(theirs, data)
    for axes in (ours, theirs):
        axes.set_ylabel("TPOT (ms per token)")
        axes.grid(visible=False, axis="x")


def _ours(axes: Axes, data: Data) -> None:
    names = list(dict.fromkeys(item["system"] for found in data["datasets"].values() for item in found))
    for place, name in enumerate(names):
        there = {
            group: item["tpot"]
            for group, found in enumerate(data["datasets"].values())
            for item in found
            if item["system"] == name and item["tpot"]
        }
        shapes.bars(axes, place, len(names), there, name, color=style.look(name)[0])
    axes.set_xticks(range(len(data["datasets"])), list(data["datasets"]))
    axes.set_title(f"{data['hardware']}, reference pair\n")
    axes.set_ylim(top=1.2 * axes.get_ylim()[1])
    axes.legend(loc="upper left", ncols=len(names), columnspacing=1.2, handlelength=1.4)


def _theirs(axes: Axes, data: Data) -> None:
    models = list(dict.fromkeys(one["model"] for one in data["reported"]))
    names = list(dict.fromkeys(one["system"] for one in data["reported"]))
    for place, (name, colour) in enumerate(zip(names, SHADES, strict=True)):
        found = {models.index(one["model"]): shapes.bare(one["tpot"]) for one in data["reported"]
                 if one["system"] == name}  # fmt: skip
        drawn = shapes.bars(axes, place, len(names), found, name, color=colour, hatch="///")
        axes.bar_label(drawn, fmt="%.0f", fontsize=shapes.SMALL)
    axes.set_xticks(range(len(models)), models)
    axes.set_title(f"reported (hatched), mean of five datasets,\n{MEMORY} memory ({data['citation']})")
    axes.legend(loc="upper right")


FIGURE = Figure(
    name="datasets",
    title="Time per output token by dataset",
    sources=(Experiment("datasets"),),
    collect=collect,
    draw=draw,
    size=(10.0, 4.4),
    papers=("moe_speq",),
)
