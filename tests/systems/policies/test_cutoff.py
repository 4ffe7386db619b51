"""The latency model on steps small enough to work out by hand."""

import dataclasses

import pytest

from systems.policies.cutoff import StepProfile, choose_cutoff, step_time

# Two drafts over three layers of 1 s: 6 s of drafting; verification layers of 2 s: 6 s more. Each of the
# first draft's hints names one expert per layer, all of them right; a transfer takes 1 s.
STEP = StepProfile(
    draft_layer=1.0,
    verify_layer=2.0,
    transfer=1.0,
    hinted=[[1, 1, 1], [0, 0, 0]],
    useful=[1, 1, 1],
    missed=[0, 0, 0],
    union=[1, 1, 1],
    slots=100,
)


def test_without_prefetch_verification_waits_for_every_expert() -> None:
    assert step_time(STEP, 0) == 12 + 3


def test_what_drafting_hides_costs_nothing() -> None:
    assert [step_time(STEP, depth) for depth in (1, 2, 3)] == [14, 13, 12]
    assert choose_cutoff(STEP) == 3


def test_a_slow_link_hides_what_fits_into_drafting_and_the_layers_before() -> None:
    # In 6 s of drafting layer 0's transfer (4 s) lands, and half of layer 1's. Layer 0's computation carries
    # the other half, layer 1's half of layer 2's, of which 2 s are waited for.
    assert step_time(dataclasses.replace(STEP, transfer=4.0), 3) == 12 + 2


def test_what_was_not_hinted_is_always_waited_for() -> None:
    assert step_time(dataclasses.replace(STEP, missed=[0, 2, 0]), 3) == 12 + 2


def test_wrong_hints_delay_right_ones() -> None:
    # Layer 0's twelve hints are all wrong and fill the link until verification withdraws them.
    step = dataclasses.replace(STEP, hinted=[[12, 1, 1], [0, 0, 0]], useful=[0, 1, 1])
    assert step_time(step, 0) == 12 + 2
    assert step_time(step, 3) == 12 + 0, "both right ones fit into layer 0's computation"
    slow = dataclasses.replace(step, transfer=3.0)
    assert step_time(slow, 3) > step_time(dataclasses.replace(slow, hinted=[[0, 1, 1], [0, 0, 0]]), 3)


def test_slots_bound_what_can_land_before_its_layer() -> None:
    # Beside the one expert being computed there is room for one prefetch at a time: layer 0's lands while
    # drafting, and each computation makes room for the next layer's.
    assert step_time(dataclasses.replace(STEP, slots=2), 3) == 12
    assert step_time(dataclasses.replace(STEP, slots=1), 3) == 12 + 3
    assert choose_cutoff(dataclasses.replace(STEP, slots=1)) == 0, "nothing gained: the smallest depth"


@pytest.mark.parametrize("depth", range(4))
def test_never_faster_than_the_computation_nor_slower_than_no_prefetch(depth: int) -> None:
    for transfer in (0.0, 0.5, 3.0, 40.0):
        step = dataclasses.replace(STEP, transfer=transfer)
        assert 12 <= step_time(step, depth) <= step_time(step, 0)
