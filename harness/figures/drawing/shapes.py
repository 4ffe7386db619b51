"""What several figures draw: lines, bars and dots with their intervals, and what explains them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.figures.drawing import style
from harness.figures.drawing.base import Data

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer

Point = Mapping[str, float | None]
INTERVAL: dict[str, Any] = {"elinewidth": 0.8, "capsize": 2}
SMALL = 7.5
"""Font size of what is said within a picture."""
QUIET = "#555555"
REPORTED_MARKS = "Dos"
"""Marks of published numbers where several are told apart."""


def errors(points: Sequence[Point]) -> list[list[float]]:
    """Return lengths of the intervals below and above, as `errorbar` wants them; 0 where there is none."""
    spans = [(point["value"] or 0.0, *ends(point)) for point in points]
    return [[max(0.0, value - low) for value, low, _ in spans], [max(0.0, high - value) for value, _, high in spans]]


def ends(point: Point) -> tuple[float, float]:
    """Return where a point's interval begins and ends, both the value itself where it has none."""
    value, low, high = (point[name] for name in ("value", "low", "high"))
    assert value is not None
    return value if low is None else low, value if high is None else high


def line(
    axes: Axes, system: str, xs: Sequence[float], found: Sequence[Data], key: str, label: str | None = None
) -> None:
    """Draw a system over `xs` with its intervals; points that are not `ok` are hollow, unknown ones left out."""
    known = [(x, item) for x, item in zip(xs, found, strict=True) if item[key] is not None]
    if not known:
        return
    colour, mark = style.look(system)
    points = [item[key] for _, item in known]
    axes.errorbar(
        [x for x, _ in known], [point["value"] for point in points], yerr=errors(points), label=label or system,
        marker=mark, markersize=5, linestyle="--" if style.base(system) in style.BOUNDS else "-", linewidth=1.3,
        color=colour, **INTERVAL,
    )  # fmt: skip
    unsound = [(x, item[key]["value"]) for x, item in known if item["status"] != "ok"]
    if unsound:
        axes.plot(*zip(*unsound, strict=True), linestyle="none", marker="o", markersize=6, zorder=5, color=colour,
                  **style.UNSOUND)  # fmt: skip


def beside(xs: Sequence[float], place: int, count: int, step: float) -> list[float]:
    """Move one of `count` series aside, so that their intervals do not cover each other."""
    return [x + step * (place - (count - 1) / 2) for x in xs]


def bars(axes: Axes, place: int, count: int, points: Mapping[int, Point], label: str, **look: Any) -> BarContainer:
    """Draw one of `count` series of bars: `points` by the group that they stand in, with intervals where known."""
    width = 0.8 / count
    at, found = beside(list(points), place, count, width), list(points.values())
    drawn = axes.bar(
        at, [point["value"] or 0.0 for point in found], width=width, label=label, edgecolor="white", **look
    )
    whole = [(x, point) for x, point in zip(at, found, strict=True) if point["low"] is not None]
    if whole:
        spread = [point for _, point in whole]
        axes.errorbar(
            [x for x, _ in whole], [point["value"] or 0.0 for point in spread], yerr=errors(spread), color=style.BLACK,
            linestyle="none", **INTERVAL,
        )  # fmt: skip
    return drawn


def bare(value: float) -> Point:
    """Return a number that has no interval as a point."""
    return {"value": value, "low": None, "high": None}


def dots(axes: Axes, names: Sequence[str], found: Mapping[str, Data], key: str) -> None:
    """Draw a row per system with its interval, in the colour of its kind; verdicts other than `ok` are written out."""
    for height, name in enumerate(names):
        item = found.get(name)
        if item is None or item[key] is None:
            text = "not measured" if item is None else item["status"]
            axes.text(0.02, height, text, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL)
            continue
        point = item[key]
        axes.errorbar([point["value"]], [height], xerr=errors([point]), fmt="o", markersize=5, capsize=2,
                      color=style.FAMILIES[style.kind_of(item)], **style.hollow(item))  # fmt: skip
        if item["status"] != "ok":
            axes.annotate(item["status"], (point["high"] or point["value"], height), (5, 0), fontsize=SMALL,
                          textcoords="offset points", va="center", color=QUIET)  # fmt: skip


def stacked(axes: Axes, found: Sequence[Data]) -> None:
    """Draw TPOT as a bar of its parts per system, its interval at the end; refused breakdowns are empty."""
    whole = [(place, item) for place, item in enumerate(found) if all(item[name] for name in style.PARTS)]
    left = [0.0] * len(whole)
    for name, colour in style.PARTS.items():
        widths = [item[name]["value"] for _, item in whole]
        axes.barh([place for place, _ in whole], widths, left=left, color=colour, label=style.PART_NAMES[name])
        left = [before + width for before, width in zip(left, widths, strict=True)]
    axes.errorbar(
        [item["tpot"]["value"] for item in found], range(len(found)), xerr=errors([item["tpot"] for item in found]),
        color=style.BLACK, linestyle="none", **INTERVAL,
    )  # fmt: skip
    axes.set_xlabel("TPOT (ms per token)")


def reported(axes: Axes, xs: Sequence[float], ys: Sequence[float], label: str, place: int = 0, **look: Any) -> None:
    """Draw published numbers: hollow and black, the `place`-th series with a mark of its own."""
    mark = REPORTED_MARKS[place % len(REPORTED_MARKS)]
    axes.plot(xs, ys, label=label, **(style.REPORTED | {"marker": mark} | look))


def key(axes: Axes, found: Iterable[Data], **options: Any) -> None:
    """Explain the lines of a picture, and its hollow points by the verdicts that occur among the items drawn."""
    handles, names = axes.get_legend_handles_labels()
    verdicts = dict.fromkeys(item["status"] for item in found if item["status"] != "ok")
    if verdicts:
        handles.append(_mark(QUIET, **style.UNSOUND))
        names.append(f"hollow: {', '.join(verdicts)}".replace("_", " "))
    axes.legend(handles, names, **options)


def key_of_kinds(axes: Axes, kinds: Iterable[str], **options: Any) -> None:
    """Explain the colours of the kinds that occur."""
    occurring = set(kinds)
    there = [name for name in style.FAMILIES if name in occurring]
    axes.legend([_mark(style.FAMILIES[name]) for name in there], there, **options)


def _mark(colour: str, **look: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], marker="o", linestyle="none", color=colour, **look)
