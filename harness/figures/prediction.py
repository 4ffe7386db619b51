"""How well the draft foretells the target's routing, layer by layer, with SP-MoE's reported means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.figures.drawing import scales, shapes, style
from harness.figures.drawing.base import Data, Figure, cited, rounded
from harness.figures.drawing.sources import Measured
from harness.records.papers import Reported

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

ALIGNMENT = Measured("alignment/summary.json", "spmoe-bench/alignment/1", "python -m models.alignment")
CURVES = {
    "recall": ("chosen experts named by the draft", style.VERMILLION, "D"),
    "top_1": ("most probable expert right", style.BLUE, "o"),
    "next_layer_recall": ("named by the layer before (next-layer gate)", style.GREEN, "^"),
    "recall_shuffled": ("control: of another token", style.GREY, "x"),
}


def collect(measured: Mapping[str, Any], reported: Sequence[Reported]) -> Data:
    """Percent by layer."""
    found = [one for one in reported if one.metric in ("cosine_similarity", "expert_accuracy")]
    layers = measured["by_layer"]
    return {
        "cosine": _percent(layers["cosine"]),
        **{name: _percent(layers[name]) for name in CURVES},
        "prompts": measured["prompts"],
        "reported": [{"metric": one.metric, "model": one.model, "value": rounded(one.value)} for one in found],
        "citation": cited(found),
    }


def draw(data: Data, canvas: Canvas) -> None:
    """Similarity on the left, predictions on the right."""
    left, right = canvas.subplots(1, 2, sharey=True)
    left.plot(data["cosine"], color=style.VERMILLION, marker="D", label="reference pair")
    left.set_title("attention outputs of draft and target")
    left.set_ylabel("cosine similarity (%)")
    for name, (label, colour, marker) in CURVES.items():
        shown = [(layer, value) for layer, value in enumerate(data[name]) if value is not None]
        right.plot(*zip(*shown, strict=True), color=colour, marker=marker, label=label)
    right.set_title(f"experts, {data['prompts']} prompts")
    right.set_ylabel("correct (%)")
    _reported(left, data, "cosine_similarity")
    _reported(right, data, "expert_accuracy")
    for axes in (left, right):
        axes.set_xlabel("layer")
        axes.set_ylim(0, 103)
    left.legend(loc="lower left")
    handles, names = right.get_legend_handles_labels()
    right.legend(handles[: len(CURVES)], names[: len(CURVES)], loc="center left", bbox_to_anchor=(0.0, 0.41))


def _percent(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else rounded(100 * value) for value in values]


def _reported(axes: Axes, data: Data, metric: str) -> None:
    """Means over layers, drawn behind the last one."""
    at = len(data["cosine"])
    for place, one in enumerate(item for item in data["reported"] if item["metric"] == metric):
        shapes.reported(axes, [at + 0.3 * (place - 1)], [one["value"]], f"reported: {one['model']}", place)
    axes.set_xticks([*range(at), at], [*map(str, range(at)), "reported\nmeans"])
    scales.cite(axes, data["citation"])


FIGURE = Figure(
    name="prediction",
    title="What the draft foretells of the target's routing",
    sources=(ALIGNMENT,),
    collect=collect,
    draw=draw,
    size=(9.5, 4.8),
    papers=("sp_moe",),
)
