"""How many experts do so many tokens activate? MoESD's figure 1: the formula beside counted routing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.figures import style
from harness.figures.base import Data, Figure, rounded
from harness.figures.sources import Measured

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MOESD = Measured("moesd/moesd.json", "spmoe-bench/moesd/1", "python -m harness.moesd")
CURVES = {
    "uniform": ("formula: uniform, independent", style.BLACK, "--"),
    "skewed": ("every expert's own popularity", style.BLUE, "-"),
    "scattered": ("counted, tokens from anywhere", style.GREEN, "-"),
    "verified": ("counted, as verified together", style.VERMILLION, "-"),
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
    for name, (label, colour, how) in CURVES.items():
        left.plot(data["tokens"], data["distinct"][name], how, color=colour, marker="o", markersize=3, label=label)
        right.plot(data["tokens"], data["load"][name], how, color=colour, marker="o", markersize=3)
    left.axhline(data["experts"], color=style.GREY, linestyle=":")
    left.set_ylabel(f"distinct experts per layer (of {data['experts']}, {data['top_k']} a token)")
    right.set_ylabel("tokens per activated expert")
    for axes in (left, right):
        axes.set_xlabel("tokens in a forward")
        axes.set_ylim(bottom=0)
    left.legend(loc="lower right")


FIGURE = Figure(
    name="moesd_activation",
    title="Experts that a forward activates: formula and counts",
    sources=(MOESD,),
    collect=collect,
    draw=draw,
    size=(9.0, 4.2),
)
