"""Tables in terminals of any width."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from rich.console import Console

from harness.terminal import grid

HEADS = ("system", "status", "TPOT ms", "accept. rate", "x transformers_assisted", "note")
LINES = [
    ("offload", "ok", "12.62 [2.72, 30.18]", "-", "1.02 [0.77, 1.35]", "plain"),
    ("transformers_assisted (lossy)", "draft_inactive", "1234.56 [1000.00, 2000.00]", "0.875", "-", "0.52 vs. 0.51"),
]
WIDTHS = [24, 32, 40, 41, 50, 60, 72, 80, 100, 120, 200]


def drawn(width: int, heads: tuple[str, ...] = HEADS, lines: list[tuple[str, ...]] = LINES) -> list[list[str]]:
    """Return the lines of each table."""
    stream = StringIO()
    grid.draw(heads, lines, Console(file=stream, width=width))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return [part.splitlines() for part in text.rstrip().split("\n\n")]


@pytest.mark.parametrize("width", [width for width in WIDTHS if width >= 40])
def test_every_number_and_interval_is_whole(width: int) -> None:
    words = " ".join(line for part in drawn(width) for line in part)
    for line in LINES:
        for piece in re.findall(r"\[[^]]*\]|[\d.]+", " ".join(line)):
            assert piece in words, piece


@pytest.mark.parametrize("width", WIDTHS)
def test_no_character_is_lost(width: int) -> None:
    shown = "".join(line for part in drawn(width) for line in part)
    for text in (*HEADS, *(cell for line in LINES for cell in line)):
        for character in set(text) - {" "}:
            assert shown.count(character) >= sum(cell.count(character) for line in LINES for cell in line)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_table_has_the_row_names(width: int) -> None:
    for part in drawn(width):
        assert "system" in " ".join(part[: next(i for i, line in enumerate(part) if "──" in line)])
        own = "".join(line[:8].strip() for line in part)
        assert "offload" in own
        assert "transfor" in own


def test_no_column_is_dropped_and_as_many_tables_as_needed() -> None:
    assert [len(drawn(width)) for width in (200, 40)] == [1, 5]
    for part in drawn(200):
        assert all(heading in part[0] for heading in HEADS)
    words = " ".join(" ".join(part[0].split()) for part in drawn(60))
    assert all(heading in words for heading in ("status", "TPOT ms", "note"))


def test_names_are_whole_where_another_table_helps() -> None:
    for part in drawn(50):
        assert any(line.startswith("transformers_assisted (lossy) ") for line in part), part


def test_an_interval_breaks_before_its_bracket() -> None:
    part = next(part for part in drawn(48) if "TPOT" in part[0])
    assert any(line.endswith("1234.56") for line in part)
    assert any(line.endswith(" [1000.00, 2000.00]") for line in part)


def test_rows_that_share_a_name_are_told_apart_in_every_table() -> None:
    heads = ("budget", "transfer : layer", "fastest", "TPOT ms", "that drafts")
    lines = [
        (f"{budget}%", ratio, "sp_moe, 4", "11.10", "sd_adapmoe, 4") for budget in (10, 20) for ratio in ("0.5", "8")
    ]
    parts = drawn(40, heads, lines)
    assert len(parts) > 1
    for part in parts:
        assert len({tuple(line.split()[:2]) for line in part if "%" in line}) == 4


def test_nothing_but_a_name_and_no_lines_at_all() -> None:
    assert drawn(10, ("a long heading",), [("1",)])
    assert len(drawn(10, HEADS[:3], [])) >= 1


def test_the_gap_between_lossless_and_lossy_is_in_every_table() -> None:
    stream = StringIO()
    grid.draw(HEADS, LINES, Console(file=stream, width=60), section=1)
    assert stream.getvalue().count("system") >= 2
    assert grid.width(HEADS, LINES) == sum(max(map(len, column)) for column in zip(HEADS, *LINES, strict=True)) + 10
