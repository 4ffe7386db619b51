"""Lines of texts on a terminal of any width: no digit is cut, and every row has its name.

What does not fit beside the row names goes on in further tables below, which repeat them.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

FOLDED = ("system", "status")
"""Columns that give way on a narrow terminal before others go below."""
FEWEST_LINES = 3
"""Lines that a text is folded to at most, while other columns can go below instead."""
LEAST_NAME = 8
"""Characters that a row's name keeps in a line, however narrow the terminal is."""
WORD = 16
"""Characters of a word that a text keeps in a line before names are folded for it."""
_PIECE = re.compile(r"\[[^\]]*\]\s*|[^\s_\[]+(?:_+|\s+)?|_+|\s+|\[")
"""What a line break never parts: an interval, a number, a word or a part of a name."""


class _Column(NamedTuple):
    heading: str
    cells: tuple[str, ...]
    folds: bool
    left: bool

    @property
    def whole(self) -> int:
        """Its width with nothing folded."""
        return max(map(len, (self.heading, *self.cells)))

    @property
    def tight(self) -> int:
        """Its width with a folded heading, and with folded texts if these give way."""
        heading, cells = _least(self.heading), max(map(len, self.cells), default=0)
        if not self.folds:
            return max(heading, cells)
        return max(heading, -(-cells // FEWEST_LINES), *map(_least, self.cells))

    @property
    def least(self) -> int:
        """Its width where a line has one piece."""
        return max(map(_least, (self.heading, *self.cells)))


class _Part(NamedTuple):
    """One of the tables: its columns, their widths, and the blanks between them."""

    columns: Sequence[_Column]
    widths: Sequence[int]
    gap: int


def draw(
    heads: Sequence[str],
    lines: Sequence[Sequence[str]],
    console: Console,
    folds: Container[str] = FOLDED,
    lefts: Container[str] = FOLDED,
    section: int = 0,
) -> None:
    """Print lines below their headings; `folds` are the columns that give way, `section` is the lines above a gap."""
    cells = list(zip(*lines, strict=True)) if lines else [()] * len(heads)
    columns = [_Column(head, tuple(own), head in folds, head in lefts) for head, own in zip(heads, cells, strict=True)]
    for number, part in enumerate(_parts(columns, console.width)):
        if number:
            console.print()
        console.print(_table(part, section))


def width(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> int:
    """Return the width of a terminal that holds all in one table without folding anything."""
    return sum(max(map(len, column)) for column in zip(heads, *lines, strict=True)) + 2 * (len(heads) - 1)


def _parts(columns: Sequence[_Column], room: int) -> Iterator[_Part]:
    if (whole := _fitted(columns, room)) or len(columns) == 1:
        yield whole or _Part(columns, [room], 0)
        return
    count = _names(columns, room)
    names = [column._replace(folds=False) for column in columns[:count]]
    part: _Part | None = None
    for column in columns[count:]:
        if part and (more := _fitted([*part.columns, column], room)):
            part = more
            continue
        if part:
            yield part
        part = _fitted([*names, column], room) or _forced([*names, column], room)
    if part:
        yield part


def _fitted(columns: Sequence[_Column], room: int) -> _Part | None:
    """Return the table if it fits: with one blank instead of two, then folded texts, then folded headings if needed."""
    widths = [column.whole for column in columns]
    for gap in (2, 1):
        if sum(widths) + gap * (len(columns) - 1) <= room:
            return _Part(columns, widths, gap)
    room -= len(columns) - 1
    for least in (
        [column.tight if column.folds else column.whole for column in columns],
        [column.tight for column in columns],
    ):
        widths = _narrowed(widths, least, room)
        if sum(widths) <= room:
            return _Part(columns, widths, 1)
    return None


def _forced(columns: Sequence[_Column], room: int) -> _Part:
    """Return the table of names and one column, folded as far as it must be: the column first, then the names."""
    *names, last = columns
    room -= len(names)
    widths, beside = [column.whole for column in columns], min(last.least, WORD) if last.folds else last.least
    for least in (
        [*(name.whole for name in names), beside],
        [*(name.least for name in names), beside],
        [*(min(LEAST_NAME, name.whole) for name in names), beside],
        [1] * len(columns),
    ):
        widths = _narrowed(widths, least, room)
    return _Part(columns, widths, 1)


def _names(columns: Sequence[_Column], room: int) -> int:
    """Return how many of the first columns name a row: as many as tell rows apart, if others fit beside them."""
    rows = list(zip(*(column.cells for column in columns), strict=True))
    for count in range(1, len(columns)):
        if len({row[:count] for row in rows}) == len(rows):
            beside = max(column.least for column in columns[count:])
            return count if sum(name.least for name in columns[:count]) + count + beside <= room else 1
    return 1


def _narrowed(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Take from the widest column that can give until all fit or none can."""
    found = list(widths)
    while sum(found) > room and (able := [place for place, own in enumerate(found) if own > least[place]]):
        found[max(able, key=lambda place: found[place])] -= 1
    return found


def _table(part: _Part, section: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, part.gap - 1, 0, 0), show_edge=False, pad_edge=False)
    for column, own in zip(part.columns, part.widths, strict=True):
        side: JustifyMethod = "left" if column.left else "right"
        table.add_column(_folded(column.heading, own), justify=side, no_wrap=True, width=own)
    for index, line in enumerate(zip(*(column.cells for column in part.columns), strict=True), 1):
        cells = [_folded(text, own) for text, own in zip(line, part.widths, strict=True)]
        table.add_row(*cells, end_section=index == section)
    return table


def _folded(text: str, room: int) -> Text:
    """Break a text between pieces; within one only where it is wider than a line."""
    lines = [""]
    for piece in _PIECE.findall(text):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > room:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > room:
            lines[-1:] = [lines[-1][:room], lines[-1][room:]]
    return Text("\n".join(line.rstrip() for line in lines))


def _least(text: str) -> int:
    return max((len(piece.rstrip()) for piece in _PIECE.findall(text)), default=0)
