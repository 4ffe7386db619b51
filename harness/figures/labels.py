"""Names beside the points of a scatter, where they cover neither points nor each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]
"""Left, bottom, right, top in points of the page."""
SIZE = 7.5
WIDTH, HEIGHT = 0.6 * SIZE, 1.25 * SIZE
"""Of a letter."""
MARK = 3.5
"""Half the size of a point's mark."""


def beside(axes: Axes, places: Sequence[tuple[float, float, str]]) -> None:
    """Write each name at the first free spot around its point; limits and scales must be set."""
    canvas = axes.get_figure()
    assert canvas is not None
    canvas.draw_without_rendering()  # type: ignore[union-attr]  # settles the layout, and with it the transform
    to_points = 72 / canvas.dpi
    dots = [tuple(axes.transData.transform((x, y)) * to_points) for x, y, _ in places]
    taken: list[Box] = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in dots]
    for (x, y, name), dot in zip(places, dots, strict=True):
        spots = list(_spots(name))
        moved = next((spot for spot in spots if not _hits(_box(dot, spot, name), taken)), spots[0])
        taken.append(_box(dot, moved, name))
        axes.annotate(name, (x, y), moved, textcoords="offset points", fontsize=SIZE, va="center")


def _spots(name: str) -> Iterator[tuple[float, float]]:
    """Offsets of a name's left edge: right of the point first, then left, then higher and lower ones."""
    width = WIDTH * len(name)
    for up, left in product((0.0, 8.0, -8.0, 15.0, -15.0, 23.0, -23.0), (6.0, -width - 5.0, -width / 2)):
        if up or left != -width / 2:
            yield left, up


def _box(dot: tuple[float, ...], spot: tuple[float, float], name: str) -> Box:
    left, middle = dot[0] + spot[0], dot[1] + spot[1]
    return left, middle - HEIGHT / 2, left + WIDTH * len(name), middle + HEIGHT / 2


def _hits(box: Box, taken: Sequence[Box]) -> bool:
    return any(
        box[0] < right and left < box[2] and box[1] < top and bottom < box[3] for left, bottom, right, top in taken
    )
