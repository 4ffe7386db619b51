"""The report's arithmetic, on sequences small enough to count by hand."""

from __future__ import annotations

import pytest
import torch

from models import measure, report
from models.exercises import generate


def test_walk_counts_one_step_per_rejection() -> None:
    assert measure.walk([True] * 10, 4) == (8, 8, 2)
    assert measure.walk([False] * 3, 2) == (3, 0, 3)
    assert measure.walk([True, False, True, True], 2) == (3, 2, 2)


def test_degeneration_is_a_short_period_at_the_end() -> None:
    assert measure.is_degenerate([9] * 5 + [1, 2, 3] * 11)
    assert not measure.is_degenerate([1, 2, 3, 4, 5] * 8)
    assert not measure.is_degenerate([1] * 31)


def test_lru_hits_depend_on_order() -> None:
    assert measure.lru_hits(torch.tensor([[0, 1], [0, 1], [2, 3]]), 2) == (2, 6)
    assert measure.lru_hits(torch.tensor([[0, 1], [2, 3], [0, 1]]), 2) == (0, 6)


def test_overlap_and_distinct_experts() -> None:
    predicted, actual = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[1, 0], [3, 5]])
    assert measure.overlap(predicted, actual).tolist() == [1.0, 0.5]
    assert measure.distinct_experts(torch.tensor([[0, 1], [1, 2], [5, 6]]), 2) == pytest.approx(3.5)


def test_solutions_are_run_against_the_asserts() -> None:
    exercise = next(generate("held_out", 1, 5))
    assert report.passes(exercise, exercise.canonical_solution)
    assert not report.passes(exercise, "    return 'neither'\n")
    assert not report.passes(exercise, "    while True: pass\n")
