"""Bytes over the link against TPOT: who pays how much traffic for how much time, and whom nobody beats in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.figures.drawing import labels, shapes, style
from harness.figures.drawing.base import Data, Figure, entry, point
from harness.figures.drawing.sources import Experiment, rows_of
from harness.records.published import Summary
from harness.records.summary_file import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

OUT = ("resident", "sd_resident")
"""Not within the budget."""


def collect(summaries: Sequence[Summary]) -> Data:
    """TPOT in ms and MiB per token of what keeps to the budget; whether it is on the frontier."""
    rows = [row for row in rows_of(summaries) if row["system"] not in OUT]
    return {name: _profile(rows, name) for name in dict.fromkeys(row["hardware"] for row in rows)}


def draw(data: Data, canvas: Canvas) -> None:
    """A panel per profile; the frontier is a line through the systems that nobody beats in both."""
    panels = canvas.subplots(1, len(data), squeeze=False)[0]
    for axes, (hardware, found) in zip(panels, data.items(), strict=True):
        _panel(axes, hardware, found)
    shapes.key_of_kinds(panels[-1], map(style.kind_of, next(iter(data.values()))), loc="upper left")


def _profile(rows: Sequence[Row], hardware: str) -> list[Data]:
    found = [
        entry(row, tpot=point(row, "tpot", 1e3), moved=point(row, "bytes_per_token", 2**-20))
        for row in rows
        if row["hardware"] == hardware
    ]
    known = [item for item in found if item["tpot"] and item["moved"]]
    return [item | {"frontier": _is_real(item) and not any(_beats(other, item) for other in known)} for item in known]


def _is_real(item: Data) -> bool:
    """Whether it is lossless, and no bound that knows the future."""
    return item["lossless"] and style.base(item["system"]) not in style.ORACLES


def _beats(other: Data, item: Data) -> bool:
    """Whether `other` is as good in both and better in one."""
    ours, theirs = _place(item), _place(other)
    return _is_real(other) and theirs != ours and all(t <= o for t, o in zip(theirs, ours, strict=True))


def _place(item: Data) -> tuple[float, float]:
    return item["moved"]["value"], item["tpot"]["value"]


def _panel(axes: Axes, hardware: str, found: Sequence[Data]) -> None:
    for item in sorted(found, key=_place):
        (x, y), colour = _place(item), style.FAMILIES[style.kind_of(item)]
        axes.errorbar(
            [x], [y], xerr=shapes.errors([item["moved"]]), yerr=shapes.errors([item["tpot"]]), marker="o", markersize=5,
            color=colour, elinewidth=0.7, **style.hollow(item),
        )  # fmt: skip
    axes.set_xlim(left=-0.5)
    axes.margins(x=0.12)
    axes.set_ylim(bottom=0)
    axes.set_title(f"{hardware}; dashed: no lossless system is below and left")
    axes.set_xlabel("expert traffic (MiB per token)")
    axes.set_ylabel("TPOT (ms per token)")
    border = _frontier(axes, sorted(_place(item) for item in found if item["frontier"]))
    labels.beside(axes, [(*_place(item), item["system"]) for item in found], [*_intervals(found), *border])


def _frontier(axes: Axes, places: Sequence[tuple[float, float]]) -> list[labels.Box]:
    """Draw the border of what somebody beats, to the edge of the picture; return its level stretches."""
    if not places:
        return []
    edge = axes.get_xlim()[1]
    xs, ys = zip(*places, (edge, places[-1][1]), strict=True)
    axes.step(xs, ys, where="post", color=style.GREY, linestyle="--", linewidth=1, zorder=1)
    axes.set_xlim(right=edge)
    return [(left, y, right, y) for left, right, y in zip(xs, xs[1:], ys, strict=False)]


def _intervals(found: Sequence[Data]) -> Iterator[labels.Box]:
    """Return where lines cross the picture, as boxes without a width."""
    for item in found:
        x, y = _place(item)
        (left, right), (below, above) = shapes.ends(item["moved"]), shapes.ends(item["tpot"])
        yield left, y, right, y
        yield x, below, x, above


FIGURE = Figure(
    name="pareto",
    title="Traffic against time, same memory for everybody",
    sources=(Experiment("bench_all"),),
    collect=collect,
    draw=draw,
    size=(10.0, 5.4),
)
