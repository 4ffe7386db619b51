"""What TPOT is made of, in ms: draft + verify + exposed transfer + host + residual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.figures.drawing import scales, shapes, style
from harness.figures.drawing.base import Data, Figure, entry, point
from harness.figures.drawing.sources import Experiment, rows_of
from harness.records.published import Summary
from harness.records.summary_file import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas


def collect(summaries: Sequence[Summary]) -> Data:
    """Parts of TPOT in ms; a refused breakdown (its residual is too large) has none."""
    rows = rows_of(summaries)
    return {name: _profile(rows, name) for name in dict.fromkeys(row["hardware"] for row in rows)}


def draw(data: Data, canvas: Canvas) -> None:
    """Stacked bars, a panel per profile."""
    panels = canvas.subplots(1, len(data), squeeze=False)[0]
    for axes, (hardware, found) in zip(panels, data.items(), strict=True):
        _panel(axes, hardware, found)
    panels[0].legend(loc="upper right")


def _profile(rows: Sequence[Row], hardware: str) -> list[Data]:
    found = [
        entry(row, tpot=point(row, "tpot", 1e3), **{name: point(row, f"breakdown_{name}", 1e3) for name in style.PARTS})
        for row in rows
        if row["hardware"] == hardware
    ]
    timed = [item for item in found if item["tpot"]]
    return sorted(timed, key=lambda item: float(item["tpot"]["value"]))


def _panel(axes: Axes, hardware: str, found: Sequence[Data]) -> None:
    shapes.stacked(axes, found)
    axes.set_title(hardware)
    scales.names_on(axes, [style.named(item) for item in found])


FIGURE = Figure(
    name="breakdown",
    title="Where a token's time goes",
    sources=(Experiment("bench_all"),),
    collect=collect,
    draw=draw,
    size=(10.0, 5.6),
)
