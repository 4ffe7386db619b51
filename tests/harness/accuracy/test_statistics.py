"""Known values: intervals, paired differences, and McNemar's exact test."""

from __future__ import annotations

import pytest

from harness.accuracy import statistics


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (3, 3, 1.0), (8, 1, 0.0390625), (1, 8, 0.0390625)],
)
def test_mcnemar(lost: int, gained: int, p: float) -> None:
    assert statistics.mcnemar(lost, gained) == pytest.approx(p)


def test_an_interval_holds_the_mean_and_narrows_with_prompts() -> None:
    value, low, high = statistics.interval([0.0, 1.0] * 8)
    assert value == 0.5
    assert low is not None
    assert high is not None
    assert low < 0.5 < high
    _, nearer, _ = statistics.interval([0.0, 1.0] * 80)
    assert nearer is not None
    assert nearer > low


def test_none_of_sixteen_does_not_mean_never() -> None:
    """Clopper and Pearson for 0 of 16: 1 - 0.025^(1/16)."""
    assert statistics.interval([0.0] * 16) == pytest.approx((0.0, 0.0, 0.2059), abs=1e-4)
    assert statistics.interval([1.0] * 16) == pytest.approx((1.0, 0.7941, 1.0), abs=1e-4)


def test_a_paired_difference_ignores_what_both_have() -> None:
    hard, easy = [0.0] * 20, [1.0] * 20
    none = 1 - 0.025 ** (1 / 40)  # more prompts than this share cannot differ, where none of 40 does
    assert statistics.difference(hard + easy, hard + easy) == pytest.approx((0.0, -none, none))
    value, _, high = statistics.difference([*hard, *([0.0] * 10), *([1.0] * 10)], hard + easy)
    assert value == -0.25
    assert high is not None
    assert high < 0
    assert statistics.difference([0.5], [1.0]) == (-0.5, None, None)


def test_a_difference_stays_within_what_is_possible() -> None:
    value, low, high = statistics.difference([0.0, 0.0, 1.0], [1.0, 1.0, 1.0])
    assert value == pytest.approx(-2 / 3)
    assert low == -1.0
    assert high is not None
    assert 0 < high <= 1.0
