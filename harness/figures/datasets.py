"""TPOT by dataset, MoE-SpeQ's figure 13 beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.figures import style
from harness.figures.base import Data, Figure, cited, entry, point, rounded
from harness.figures.sources import Experiment
from harness.papers import Reported
from harness.published import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MEMORY = "low"


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
    ours, theirs = canvas.subplots(1, 2, width_ratios=[3, 3])
    _ours(ours, data)
    _theirs(theirs, data)


def _ours(axes: Axes, data: Data) -> None:
    names = list(dict.fromkeys(item["system"] for found in data["datasets"].values() for item in found))
    for place, name in enumerate(names):
        there = [(group, item) for group, found in enumerate(data["datasets"].values()) for item in found
                 if item["system"] == name and item["tpot"]]  # fmt: skip
        axes.bar(
            [group + _shift(place, len(names)) for group, _ in there], [item["tpot"]["value"] for _, item in there],
            width=0.8 / len(names), yerr=style.errors([item["tpot"] for _, item in there]), capsize=2,
            color=style.COLOURS.get(name, style.GREY), edgecolor="white", label=name, error_kw={"elinewidth": 0.8},
        )  # fmt: skip
    axes.set_xticks(range(len(data["datasets"])), list(data["datasets"]))
    axes.set_title(f"{data['hardware']}, reference pair")
    axes.set_ylabel("TPOT (ms per token)")
    axes.grid(visible=False, axis="x")
    axes.set_ylim(top=1.2 * axes.get_ylim()[1])
    axes.legend(loc="upper left", ncols=len(names))


def _theirs(axes: Axes, data: Data) -> None:
    models = list(dict.fromkeys(one["model"] for one in data["reported"]))
    names = list(dict.fromkeys(one["system"] for one in data["reported"]))
    shades = (style.BLACK, style.BLUE, style.SKY, style.COLOURS["moe_speq"])
    for place, name in enumerate(names):
        found = [one for one in data["reported"] if one["system"] == name]
        axes.bar(
            [models.index(one["model"]) + _shift(place, len(names)) for one in found], [one["tpot"] for one in found],
            width=0.8 / len(names), color=shades[place % len(shades)], hatch="///", edgecolor="white", label=name,
        )  # fmt: skip
    axes.set_xticks(range(len(models)), models)
    axes.set_title(f"reported, mean of five datasets, {MEMORY} memory\n{data['citation']}")
    axes.set_ylabel("TPOT (ms per token)")
    axes.grid(visible=False, axis="x")
    axes.legend()


def _shift(place: int, count: int) -> float:
    return (place - (count - 1) / 2) * 0.8 / count


FIGURE = Figure(
    name="datasets",
    title="Time per output token by dataset",
    sources=(Experiment("datasets"),),
    collect=collect,
    draw=draw,
    size=(11.0, 4.4),
    papers=("moe_speq",),
)
