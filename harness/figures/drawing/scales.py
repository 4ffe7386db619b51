"""Axes: names, logarithms that can be read, batches in powers of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.figures.drawing.shapes import QUIET, SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

TICKS = {10.0: (1.0, 1.5, 2.0, 3.0, 5.0, 7.0), 500.0: (1.0, 2.0, 5.0), math.inf: (1.0, 3.0)}
"""Multiples of powers of ten that are written on a logarithmic axis, by how many times its low end it reaches."""


def plain_ticks(axis: Axis) -> None:
    """Write the numbers of a logarithmic axis out: 5, 10, 20, 50, more within a decade and fewer over hundreds."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=next(ticks for most, ticks in TICKS.items() if high / low <= most)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def over_batches(axes: Axes, batches: Sequence[int], most: int = 8) -> None:
    """Make the x axis one of batches, doubled from tick to tick where they are too many to be named."""
    named = batches if len(batches) <= most else [batch for batch in batches if batch & (batch - 1) == 0]
    axes.set_xscale("log", base=2)
    axes.set_xticks(named, [str(batch) for batch in named])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("batch (requests at once)")


def names_on(axes: Axes, labels: Sequence[str]) -> None:
    """Put names on the y axis, the first on top; empty ones on a panel beside another."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def cite(axes: Axes, text: str) -> None:
    """Write where published numbers come from above the panel, on the right."""
    axes.text(1, 1.01, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=SMALL, color=QUIET)
