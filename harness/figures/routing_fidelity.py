"""Does an INT4 copy route as the target does? MoE-SpeQ's figure 6: same order (hard), same set (soft), mismatch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.figures.drawing import scales, style
from harness.figures.drawing.base import Data, Figure, cited, rounded
from harness.figures.prediction import ALIGNMENT
from harness.records.papers import Reported

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

PARTS = {
    "hard": ("same experts, same order", style.BLUE),
    "soft": ("same experts, other order", style.SKY),
    "mismatch": ("an expert is wrong", style.VERMILLION),
}
THEIRS = {"hard": "INT4 draft same order", "soft": "INT4 draft same set", "mismatch": "INT4 draft mismatch"}
AHEAD = "one-layer-ahead predictor"


def collect(measured: Mapping[str, Any], reported: Sequence[Reported]) -> Data:
    """Percent of tokens by layer, their mean, the published ones; and what a one-layer-ahead predictor has right."""
    values = {one.system: rounded(one.value) for one in reported if one.metric == "expert_accuracy"}
    used = [one for one in reported if one.system in (*THEIRS.values(), AHEAD)]
    layers = measured["by_layer"]
    ahead = [value for value in layers["next_layer_same_set"] if value is not None]
    return {
        "layers": {name: [rounded(100 * value) for value in layers[f"int4_{name}"]] for name in PARTS},
        "mean": {name: rounded(100 * measured[f"int4_{name}"]) for name in PARTS},
        "ahead": rounded(100 * sum(ahead) / len(ahead)),
        "top_k": measured["top_k"],
        "reported": {name: values[system] for name, system in THEIRS.items()},
        "reported_ahead": values[AHEAD],
        "citation": cited(used),
        "model": used[0].model,
    }


def draw(data: Data, canvas: Canvas) -> None:
    """Bars by layer, then the mean, then the paper's."""
    axes = canvas.subplots()
    count = len(data["layers"]["hard"])
    at = [*range(count), count + 0.5, count + 2.0]
    below = [0.0] * len(at)
    for name, (label, colour) in PARTS.items():
        heights = [*data["layers"][name], data["mean"][name], data["reported"][name]]
        bars = axes.bar(at, heights, bottom=below, color=colour, label=label, edgecolor="white")
        bars[-1].set_hatch("///")
        below = [before + height for before, height in zip(below, heights, strict=True)]
    _ahead(axes, data, at)
    names = [*map(str, range(count)), f"mean\n(top {data['top_k']})", "reported\n(top 4)"]
    axes.set_xticks(at, names)
    axes.set_xlabel("layer")
    axes.set_ylabel("tokens (%)")
    axes.grid(visible=False, axis="x")
    scales.cite(axes, f"hatched: reported, {data['model']}, {data['citation']}")
    canvas.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)


def _ahead(axes: Axes, data: Data, at: Sequence[float]) -> None:
    """Mark the share of tokens whose set the layer before foretells."""
    values = [data["ahead"], data["reported_ahead"]]
    axes.plot(at[-2:], values, linestyle="none", marker="_", markersize=26, markeredgewidth=2, color=style.BLACK,
              label="same set, one layer ahead")  # fmt: skip


FIGURE = Figure(
    name="routing_fidelity",
    title="MoE-SpeQ: routing of the INT4 copy against the target's",
    sources=(ALIGNMENT,),
    collect=collect,
    draw=draw,
    size=(9.0, 4.6),
    papers=("moe_speq",),
)
