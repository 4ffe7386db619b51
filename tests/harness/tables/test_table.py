from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from harness.metrics.tpot import TPOT
from harness.tables import table


def _row(system: str, status: str = "ok", **metrics: Any) -> dict[str, Any]:
    return {
        "system": system, "model": "reference", "dataset": "humaneval", "hardware": "fine_grained",
        "emulated": True, "batch": 1, "budget_bytes": 2**25, "lossless": True, "status": status,
        "reason": "because of [brackets]", "metrics": metrics,
    }  # fmt: skip


GAPS = ("oracle_gap", "oracle_gap_any")
ROWS = [
    _row("offload", tpot=TPOT.known(0.0138, 16, 0.0131, 0.0144).row()),
    _row("speculative_system_name", "did_not_fit"),
    _row("sd_offload", "draft_inactive", tpot=TPOT.unknown("why not").row()),
]


def _draw(width: int) -> str:
    stream = StringIO()
    table.show(ROWS, Console(file=stream, width=width))
    return stream.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_torn(width: int) -> None:
    drawn = _draw(width)
    assert max(map(len, drawn.splitlines())) <= width
    assert "[13.10, 14.40]" in drawn
    assert ("13.80 [13.10, 14.40]" in drawn) == (width > 40)
    assert drawn.count("offload") >= 3
    assert "did_not_fit" in drawn


def test_what_is_not_ok_says_why_and_unknown_is_not_zero() -> None:
    drawn = " ".join(_draw(200).split())
    assert "speculative_system_name: did_not_fit: because of [brackets]" in drawn
    assert "0.00" not in drawn
    assert "(emulated)" in drawn


@pytest.mark.parametrize(
    ("drift", "emulated", "said"),
    [
        (
            0.625,
            True,
            "0.62 times as long after the run as when it was timed for it, so that transfers lasted 1.60 times",
        ),
        (
            1.25,
            True,
            "1.25 times as long after the run as when it was timed for it, so that transfers lasted 0.80 times",
        ),
        (1.25, False, "1.25 times as long after the run as when it was timed for it; run again"),
    ],
)
def test_a_machine_that_changed_its_speed_is_told(drift: float, emulated: bool, said: str) -> None:
    drifted = ROWS[0] | {"layer_drift": drift, "emulated": emulated}
    assert said in table.remarks([ROWS[0], drifted])[-1]


@pytest.mark.parametrize("drift", [0.9, 1.0, 1.1, None])
def test_what_a_median_leaves_of_noise_is_no_change_of_speed(drift: float | None) -> None:
    assert not any("speed:" in text for text in table.remarks([ROWS[0] | {"layer_drift": drift}]))


def test_markdown_has_a_cell_for_every_column() -> None:
    text = table.markdown(ROWS)
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for block in tables:
        assert len({line.count("|") for line in block.splitlines()}) == 1


def _compared(system: str, *over: str, gap: bool = False) -> dict[str, Any]:
    ratio = {"value": 1.5, "low": 1.4, "high": 1.6}
    return _row(
        system, **{f"speedup_over_{name}": ratio for name in over}, **(dict.fromkeys(GAPS, ratio) if gap else {})
    )


def test_few_baselines_have_a_column_each_in_the_order_of_the_config() -> None:
    rows = [_compared("a", "b"), _compared("b", "a"), _compared("c", "a", "b")]
    speed = table.sections(rows)[0]
    assert speed.columns == ("system", "status", "TPOT ms", "x a", "x b")
    assert speed.lines[2][3:] == ("1.50 [1.40, 1.60]", "1.50 [1.40, 1.60]")


def test_many_baselines_are_the_first_and_the_best() -> None:
    rows = [_compared("a", "b", "c", "best"), _compared("b", "a", "c", "best"), _compared("c", "a", "b", "best")]
    rows.append(_compared("d", "a", "b", "c", "best", gap=True))
    assert table.sections(rows)[0].columns == ("system", "status", "TPOT ms", "x a", "x best", "gap", "gap any")
    for definition in ("oracle_gap@2", "oracle_gap_any@1"):
        assert definition in table.markdown(rows)
        assert definition not in table.markdown(rows[:3])
