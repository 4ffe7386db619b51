"""Processes side by side: the same answers in the same order, each by a task that is made once."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from harness.predict.parallel import ensure_positive, side_by_side
from systems.api import BadInput


def dividing(number: int) -> Callable[[int], tuple[int, int, int]]:
    """A task that also says which process took it, and how many it has taken."""
    taken: list[int] = []

    def divide(by: int) -> tuple[int, int, int]:
        if by == 0:
            raise BadInput("`by` is 0")
        taken.append(by)
        return number // by, os.getpid(), len(taken)

    if number < 0:
        raise BadInput("`number` is negative")
    return divide


def test_answers_come_in_order_from_other_processes_that_make_their_task_once() -> None:
    items = list(range(1, 41))
    found = list(side_by_side(dividing, 840, items, 2))
    assert [quotient for quotient, _, _ in found] == [840 // item for item in items]
    processes = {process for _, process, _ in found}
    assert os.getpid() not in processes
    assert len(processes) <= 2
    assert sum(max(count for _, process, count in found if process == each) for each in processes) == len(items)


@pytest.mark.parametrize(("items", "workers"), [([1, 2, 3], 1), ([1], 8)])
def test_where_one_is_enough_no_process_is_started(items: list[int], workers: int) -> None:
    assert {process for _, process, _ in side_by_side(dividing, 6, items, workers)} == {os.getpid()}


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_wrong_with_the_task_or_an_item_is_told(workers: int) -> None:
    with pytest.raises(BadInput, match="`number` is negative"):
        side_by_side(dividing, -1, [1, 2], workers)  # at once, before any item is taken
    with pytest.raises(BadInput, match="`by` is 0"):
        list(side_by_side(dividing, 1, [1, 0, 2], workers))


def test_no_process_is_no_number_of_processes() -> None:
    ensure_positive(None)
    with pytest.raises(BadInput, match="`workers` is 0"):
        ensure_positive(0)
