"""The latency model on steps small enough to work out by hand."""

import dataclasses

import pytest

from systems.policies.cutoff import StepProfile, choose_cutoff, drain_times, reach_times

# Two drafts over three layers of 1 s; verification layers of 2 s; one transfer takes 3 s.
STEP = StepProfile(
    draft_length=2,
    draft_layer=1.0,
    verify_layer=2.0,
    transfer=3.0,
    hinted=[[1, 1, 1], [0, 0, 0]],
    missed=[0, 1, 0],
    union=[2, 2, 2],
    slots=100,
)


def test_transfers_queue_behind_each_other() -> None:
    # Ordered at 0, 1, 2 s, each 3 s long, on one link.
    assert drain_times(STEP, 3) == [3.0, 6.0, 9.0]


def test_a_second_draft_adds_to_the_queue() -> None:
    step = dataclasses.replace(STEP, hinted=[[1, 0, 0], [1, 0, 0]])
    assert drain_times(step, 1) == [6.0]  # ordered at 0 and 3 s


def test_verification_waits_for_what_was_not_hinted() -> None:
    # Drafting ends at 6 s; layer 1 fetches one expert on demand.
    assert reach_times(STEP) == [6.0, 8.0, 13.0]


def test_the_deepest_layer_whose_transfers_are_hidden() -> None:
    assert choose_cutoff(STEP) == 3
    slow = dataclasses.replace(STEP, transfer=6.5)  # layer 0 is in at 6.5 s, after verification reached it at 6 s
    assert choose_cutoff(slow) == 0
    assert choose_cutoff(dataclasses.replace(slow, hinted=[[0, 1, 1], [0, 0, 0]])) == 3


@pytest.mark.parametrize(("slots", "cutoff"), [(1, 0), (3, 1), (4, 2), (5, 3)])
def test_prefetches_must_fit_beside_the_layer_being_computed(slots: int, cutoff: int) -> None:
    assert choose_cutoff(dataclasses.replace(STEP, slots=slots)) == cutoff
