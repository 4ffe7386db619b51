"""Verdicts: a change counts when its interval excludes none and it exceeds the noise."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.gates.effects import COMPARED, FLOOR, effects
from harness.gates.noise_floor import floor_of
from harness.gates.sets import Cell

EVEN = [1.0] * 16
ODD = [*EVEN[1:], 10.0]
"""One prompt that something went wrong with."""
WIDE = [0.7, 1.3] * 8
FAINT = 1.001


def cell(values: Sequence[float], metric: str, replayed: bool) -> Cell:
    row = {"replayed": replayed, "metrics": {metric: {"definition": COMPARED[metric].id}}}
    return Cell(row, {}, {metric: {(str(place),): (value, 1.0) for place, value in enumerate(values)}})


def verdict(base: Sequence[float], new: Sequence[float], metric: str = "tpot", replayed: bool = False) -> str:
    (effect,) = effects("a", cell(base, metric, replayed), cell(new, metric, replayed), FLOOR)
    return effect.verdict


@pytest.mark.parametrize(
    ("metric", "base", "new", "expected"),
    [
        ("tpot", EVEN, [1.1] * 16, "regressed"),
        ("tpot", [1.1] * 16, EVEN, "improved"),
        ("hit_rate", EVEN, [1.1] * 16, "improved"),
        ("hit_rate", [1.1] * 16, EVEN, "regressed"),
        ("tpot", EVEN, [1.02] * 16, "same"),  # certain, but not beyond the noise
        ("tpot", EVEN, ODD, "unclear"),  # beyond the noise, but not certain
        ("tpot", ODD, EVEN, "unclear"),
        ("hit_rate", EVEN, ODD, "unclear"),
        ("hit_rate", ODD, EVEN, "unclear"),
        ("tpot", EVEN, WIDE, "unclear"),  # none, and so are 10 %
        ("tpot", [0.99, 1.01] * 8, [1.01, 0.99] * 8, "same"),
    ],
)
def test_verdict(metric: str, base: Sequence[float], new: Sequence[float], expected: str) -> None:
    assert verdict(base, new, metric) == expected


def test_what_no_clock_takes_part_in_has_no_noise() -> None:
    changed = [value * FAINT for value in EVEN]
    assert verdict(EVEN, changed) == "same"
    assert verdict(EVEN, changed, replayed=True) == "regressed"
    assert verdict(changed, EVEN, "exact_match") == "regressed"
    assert verdict(EVEN, EVEN, replayed=True) == "same"


@pytest.mark.parametrize(("again", "floor"), [(1.25, 0.25), (0.8, 0.25), (1.01, FLOOR), (0.99, FLOOR)])
def test_the_noise_floor_is_the_largest_change_of_a_time_either_way(again: float, floor: float) -> None:
    found = effects("a", cell(EVEN, "tpot", False), cell([again] * 16, "tpot", False), 0.0)
    counts = effects("a", cell(EVEN, "hit_rate", False), cell([2.0] * 16, "hit_rate", False), 0.0)
    assert floor_of([*found, *counts]) == pytest.approx(floor)
