"""How all figures look: colours, marks, and the shapes that several of them draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.figures.base import Data

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Okabe and Ito's palette, distinct for the colour-blind.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE, GREY = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#8A8A8A",
)  # fmt: skip
COLOURS = {
    "offload": BLUE,
    "moe_infinity": SKY,
    "adapmoe": GREEN,
    "sd_offload": ORANGE,
    "sp_moe": VERMILLION,
    "moe_speq": PURPLE,
    "oracle": GREY,
    "sd_oracle": BLACK,
    # These are drawn over the batch, where none of those is that shares a colour with them.
    "no_cache": GREY,
    "accelerate_offload": YELLOW,
    "overlap": GREEN,
    "caching": SKY,
    "spec_moe": PURPLE,
    "resident": BLACK,
    "sd_resident": VERMILLION,
}
MARKERS = {
    "offload": "o",
    "moe_infinity": "v",
    "adapmoe": "^",
    "sd_offload": "s",
    "sp_moe": "D",
    "moe_speq": "P",
    "oracle": "x",
    "sd_oracle": "+",
    "no_cache": "x",
    "accelerate_offload": "+",
    "overlap": "^",
    "caching": "v",
    "spec_moe": "P",
    "resident": "1",
    "sd_resident": "2",
}
PARTS = {"draft": BLUE, "verify": GREEN, "transfer": VERMILLION, "host": YELLOW, "residual": GREY}
"""The parts that TPOT adds up from."""
PART_NAMES = {
    "draft": "drafting",
    "verify": "verifying",
    "transfer": "waiting for experts",
    "host": "host",
    "residual": "residual",
}
BOUNDS = ("oracle", "sd_oracle")
REPORTED: dict[str, Any] = {
    "marker": "D",
    "markerfacecolor": "white",
    "markeredgecolor": BLACK,
    "color": BLACK,
    "linestyle": "none",
}
"""Published numbers are hollow black diamonds, everywhere."""
UNSOUND: dict[str, Any] = {"markerfacecolor": "white"}
"""What has a verdict other than `ok` is hollow."""


def errors(points: Sequence[Mapping[str, float | None]]) -> list[list[float]]:
    """Return lengths of the intervals below and above, as `errorbar` wants them; 0 where there is none."""
    below, above = [], []
    for found in points:
        value, low, high = (found[name] for name in ("value", "low", "high"))
        assert value is not None
        below.append(0.0 if low is None else max(0.0, value - low))
        above.append(0.0 if high is None else max(0.0, high - value))
    return [below, above]


def line(
    axes: Axes, system: str, xs: Sequence[float], found: Sequence[Data], key: str, label: str | None = None
) -> None:
    """Draw a system over `xs` with its intervals; points that are not `ok` are hollow, unknown ones left out."""
    known = [(x, item) for x, item in zip(xs, found, strict=True) if item[key] is not None]
    if not known:
        return
    look: dict[str, Any] = {"color": COLOURS.get(base(system), GREY)}
    marker = MARKERS.get(base(system), "o")
    points = [item[key] for _, item in known]
    at = [x for x, _ in known]
    axes.errorbar(
        at, [point["value"] for point in points], yerr=errors(points), label=label or system, marker=marker,
        markersize=4.5, linestyle="--" if base(system) in BOUNDS else "-", linewidth=1.3, elinewidth=0.8, capsize=2,
        **look,
    )  # fmt: skip
    unsound = [(x, item[key]["value"]) for x, item in known if item["status"] != "ok"]
    if unsound:
        axes.plot(*zip(*unsound, strict=True), linestyle="none", marker="o", markersize=6, zorder=5, **UNSOUND, **look)


def stacked(axes: Axes, found: Sequence[Data]) -> None:
    """Draw TPOT as a bar of its parts per system, its interval at the end; refused breakdowns are empty."""
    whole = [(place, item) for place, item in enumerate(found) if all(item[name] for name in PARTS)]
    left = [0.0] * len(whole)
    for name, colour in PARTS.items():
        widths = [item[name]["value"] for _, item in whole]
        axes.barh([place for place, _ in whole], widths, left=left, color=colour, label=PART_NAMES[name])
        left = [before + width for before, width in zip(left, widths, strict=True)]
    axes.errorbar(
        [item["tpot"]["value"] for item in found], range(len(found)), xerr=errors([item["tpot"] for item in found]),
        color=BLACK, linestyle="none", elinewidth=0.8, capsize=2,
    )  # fmt: skip
    axes.set_xlabel("TPOT (ms per token)")


def hollow(item: Data) -> dict[str, Any]:
    """Return how a point looks whose verdict is not `ok`."""
    return UNSOUND if item["status"] != "ok" else {}


def base(label: str) -> str:
    """Return the system behind a label such as `sp_moe@2`."""
    return label.partition("@")[0]


FAMILIES = {
    "decodes plainly": BLUE,
    "draft model": VERMILLION,
    "INT4 self-draft": PURPLE,
    "n-gram draft": GREEN,
    "bound": GREY,
    "peer": BLACK,
}
"""Colours of kinds of systems where there are too many systems for one each."""


def kind(label: str) -> str:
    """Return the kind of a system by its name."""
    name = base(label)
    if name in ("resident", "sd_resident", "oracle", "sd_oracle", "no_cache"):
        return "bound"
    if name.startswith(("transformers", "accelerate")):
        return "peer"
    special = {"sp_moe": "draft model", "moe_speq": "INT4 self-draft", "prompt_lookup": "n-gram draft"}
    return special.get(name, "draft model" if name.startswith("sd_") else "decodes plainly")


def named(item: Data) -> str:
    """Return a system's name with what must be known of it: lossy, or a verdict other than `ok`."""
    notes = [] if item["lossless"] else ["lossy"]
    notes += [] if item["status"] == "ok" else [item["status"]]
    return f"{item['system']} ({', '.join(notes)})" if notes else str(item["system"])


def plain_ticks(axis: Axis) -> None:
    """Write the numbers of a logarithmic axis out: 5, 10, 20, 50."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def key_of_kinds(axes: Axes, names: Sequence[str], **options: Any) -> None:
    """Explain the colours of the kinds that occur."""
    from matplotlib.lines import Line2D

    there = [name for name in FAMILIES if name in {kind(label) for label in names}]
    marks = [Line2D([], [], marker="o", linestyle="none", color=FAMILIES[name]) for name in there]
    axes.legend(marks, there, **options)


def names_on(axes: Axes, labels: Sequence[str]) -> None:
    """Put names on the y axis, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
