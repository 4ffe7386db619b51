"""Names beside the points of a scatter, where they cover neither points nor each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]
"""Left, bottom, right, top in points of the page."""
SIZE = 7.5
WIDTH, HEIGHT = 0.6 * SIZE, 1.25 * SIZE
"""Of a letter."""
MARK = 3.5
"""Half the size of a point's mark."""
FAR: dict[str, Any] = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
"""The line from a name that is not level with its point to the point."""


def beside(axes: Axes, places: Sequence[tuple[float, float, str]], avoid: Sequence[Box] = ()) -> None:
    """Write each name at the spot around its point that covers least; limits and scales must be set.

    Args:
        places: x, y and name.
        avoid: what else should not be covered, such as intervals; in data coordinates.
    """
    canvas = axes.get_figure(root=True)
    assert canvas is not None
    canvas.draw_without_rendering()  # settles the layout, and with it the transform
    to_points = 72 / canvas.dpi

    def at(x: float, y: float) -> tuple[float, float]:
        found = axes.transData.transform((x, y)) * to_points
        return float(found[0]), float(found[1])

    dots = [at(x, y) for x, y, _ in places]
    taken: list[Box] = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in dots]
    taken += [(*at(left, below), *at(right, above)) for left, below, right, above in avoid]
    inside = (*at(axes.get_xlim()[0], axes.get_ylim()[0]), *at(axes.get_xlim()[1], axes.get_ylim()[1]))
    for (x, y, name), dot in zip(places, dots, strict=True):
        spots = [spot for spot in _spots(name) if _holds(inside, _box(dot, spot, name))]
        best = min(spots or [(6.0, 0.0)], key=lambda spot: _hits(_box(dot, spot, name), taken))
        taken.append(_box(dot, best, name))
        line = FAR if best[1] else None
        axes.annotate(name, (x, y), best, textcoords="offset points", fontsize=SIZE, va="center", arrowprops=line)


def _spots(name: str) -> Iterator[tuple[float, float]]:
    """Offsets of a name's left edge: right of the point first, then left, then higher and lower ones."""
    width = WIDTH * len(name)
    for up, left in product((0.0, 8.0, -8.0, 15.0, -15.0, 23.0, -23.0), (6.0, -width - 5.0, -width / 2)):
        if up or left != -width / 2:
            yield left, up


def _box(dot: tuple[float, ...], spot: tuple[float, float], name: str) -> Box:
    left, middle = dot[0] + spot[0], dot[1] + spot[1]
    return left, middle - HEIGHT / 2, left + WIDTH * len(name), middle + HEIGHT / 2


def _hits(box: Box, taken: Sequence[Box]) -> int:
    """Count what a box covers."""
    return sum(
        box[0] < right and left < box[2] and box[1] < top and bottom < box[3] for left, bottom, right, top in taken
    )


def _holds(outer: Box, box: Box) -> bool:
    return outer[0] <= box[0] and outer[1] <= box[1] and box[2] <= outer[2] and box[3] <= outer[3]
