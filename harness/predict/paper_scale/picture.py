"""Reported against predicted, every number a dot; on the diagonal the two agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.figures.drawing import scales, style
from harness.figures.drawing.picture import SETTINGS, write_png
from harness.predict.paper_scale.data import MISS, Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = {"2510.10302": "o", "2511.14102": "s"}
RELEASED = {
    "offload_as_released": style.INDIGO,
    "sd_offload_as_released": style.OLIVE,
    "moe_infinity_as_released": style.TEAL,
}
NAMES = {"2510.10302": "SP-MoE", "2511.14102": "MoE-SpeQ"}


def draw(found: Sequence[Prediction], path: Path) -> None:
    """Draw TPOT on logarithmic axes and hit rates on linear ones; what the trace was fitted to is hollow."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        canvas = Figure(figsize=(10, 5.4), layout="constrained")
        left, right = canvas.subplots(1, 2)
        known = [one for one in found if one.value is not None]
        _times(left, [one for one in known if one.reported.metric == "tpot"])
        _hits(right, [one for one in known if one.reported.metric == "hit_rate"])
        canvas.suptitle(
            "Published numbers and predictions, one set of constants per machine for all systems",
            x=0.01, ha="left", fontsize=11, fontweight="bold",
        )  # fmt: skip
        write_png(canvas, path)


def _times(axes: Axes, found: Sequence[Prediction]) -> None:
    if not found:
        return
    every = [value * 1e3 for one in found for value in (one.target, one.value or 0.0)]
    ends, off = [min(every) / 1.3, max(every) * 1.3], MISS["tpot"]
    _diagonal(axes, ends, [[end * factor for end in ends] for factor in (1 - off, 1 + off)])
    _dots(axes, found, 1e3)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    scales.plain_ticks(axes.xaxis)
    scales.plain_ticks(axes.yaxis)
    axes.set(xlabel="reported TPOT (ms per token)", ylabel="predicted TPOT (ms per token)")
    axes.set_title(f"TPOT; dashed: {off:.0%} off")
    axes.legend(loc="upper left")


def _hits(axes: Axes, found: Sequence[Prediction]) -> None:
    if not found:
        return
    ends, off = [0.0, 102.0], 100 * MISS["hit_rate"]
    _diagonal(axes, ends, [[end + shift for end in ends] for shift in (-off, off)])
    _dots(axes, found, 100)
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="reported hit rate (%)", ylabel="predicted hit rate (%)")
    axes.set_title(f"Hit rates; dashed: {off:.0f} points off; hollow: the trace was fitted to them")
    axes.legend(loc="upper left")


def _diagonal(axes: Axes, ends: Sequence[float], beside: Sequence[Sequence[float]]) -> None:
    axes.plot(ends, ends, color=style.GREY, linewidth=1)
    for line in beside:
        axes.plot(ends, line, color=style.GREY, linewidth=0.8, linestyle="--")


def _dots(axes: Axes, found: Sequence[Prediction], scale: float) -> None:
    for system, paper, fitted in dict.fromkeys((one.system, one.reported.paper, one.fitted) for one in found):
        dots = [one for one in found if (one.system, one.reported.paper, one.fitted) == (system, paper, fitted)]
        hollow = style.UNSOUND if fitted else {}
        axes.plot(
            [one.target * scale for one in dots], [(one.value or 0.0) * scale for one in dots], MARKERS[paper],
            color=_colour(system), markersize=6, alpha=0.85, linestyle="none",
            label=f"{system} ({NAMES[paper]})", **hollow,
        )  # fmt: skip


def _colour(system: str) -> str:
    if system in RELEASED:
        return RELEASED[system]
    own = {"sd_adapmoe": "adapmoe", "sd_moe_infinity": "moe_infinity"}
    return style.look(own.get(system, system))[0]
