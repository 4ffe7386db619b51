"""How many experts do so many tokens activate? MoESD's figure 1: the formula beside counted routing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.figures.drawing import scales, style
from harness.figures.drawing.base import Data, Figure, rounded
from harness.figures.drawing.sources import Measured

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure as Canvas

MOESD = Measured("moesd/moesd.json", "spmoe-bench/moesd/1", "python -m harness moesd")
CURVES: dict[str, tuple[str, dict[str, Any]]] = {
    "uniform": ("formula: uniform, independent", {"color": style.BLACK, "linestyle": "--"}),
    "skewed": ("formula: every expert's own popularity", {"color": style.ORANGE, "linestyle": "--", "marker": "s"}),
    "scattered": ("counted, tokens from anywhere", {"color": style.BLUE, "linestyle": "none", "marker": "o"}),
    "verified": ("counted, as verified together", {"color": style.VERMILLION, "linestyle": "-", "marker": "D"}),
}


def collect(measured: Mapping[str, Any]) -> Data:
    """Distinct experts per layer, and tokens that each of them computes, over tokens."""
    counted, top_k = measured["activation"], measured["top_k"]
    tokens = [one["tokens"] for one in counted]
    distinct = {name: [rounded(one[name]) for one in counted] for name in CURVES}
    load = {
        name: [rounded(count * top_k / one) for count, one in zip(tokens, values, strict=True)]
        for name, values in distinct.items()
    }
    return {"tokens": tokens, "distinct": distinct, "load": load, "experts": measured["experts"], "top_k": top_k}


def draw(data: Data, canvas: Canvas) -> None:
    """N(t) on the left, T_exp(t) on the right."""
    left, right = canvas.subplots(1, 2)
    for name, (label, look) in CURVES.items():
        left.plot(data["tokens"], data["distinct"][name], markersize=4, label=label, **look)
        right.plot(data["tokens"], data["load"][name], markersize=4, label=label, **look)
    left.axhline(data["experts"], color=style.GREY, linestyle=":")
    right.set_yscale("log")
    scales.plain_ticks(right.yaxis)
    left.set_ylabel(f"distinct experts per layer (of {data['experts']}, {data['top_k']} a token)")
    right.set_ylabel("tokens per activated expert, log scale")
    for axes in (left, right):
        axes.set_xscale("log")
        scales.plain_ticks(axes.xaxis)
        axes.set_xlabel("tokens in a forward, log scale")
    left.set_ylim(bottom=0)
    right.legend(loc="upper left")


FIGURE = Figure(
    name="moesd_activation",
    title="Experts that a forward activates: formula and counts",
    sources=(MOESD,),
    collect=collect,
    draw=draw,
    size=(9.0, 4.2),
)
