import pytest

from systems.policies.belady import NEVER, Belady, Future, Mismatch, Need
from systems.policies.orders import DEMAND, PREFETCH, Order, Shape

SHAPE = Shape(layers=2, experts=4, slots=3)
NEEDS = [Need(0, (0, 1)), Need(1, (2,)), Need(0, (1,)), Need(1, (3,)), Need(0, (0,))]
"""Ids: layer 0 has 0-3, layer 1 has 4-7. In order of need: 0 1 | 6 | 1 | 7 | 0."""


def future(*residents: int) -> Future:
    made = Future(SHAPE)
    made.foresee(NEEDS, residents)
    return made


def test_the_next_use_is_the_first_need_from_then_on() -> None:
    ahead = future()
    assert [ahead.next_use(expert, 0) for expert in (0, 1, 6, 7, 5)] == [0, 0, 1, 3, NEVER]
    assert [ahead.next_use(expert, 1) for expert in (0, 1, 6, 7)] == [4, 2, 1, 3]


def test_fetches_start_when_their_slot_has_served_its_last_reader() -> None:
    """With 0, 1 and the useless 5 in the three slots: 6 takes 5's at once; 7 takes 6's, free after need 1."""
    ahead = future(0, 1, 5)
    assert [(h.layer, h.expert, h.urgency) for h in ahead.hints(9)] == [(1, 2, 1)]
    assert ahead.planned_victim(6) == 5
    assert ahead.planned_victim(7) == 6
    ahead.advance(0, [0, 1])
    ahead.advance(1, [2])
    assert [(h.layer, h.expert, h.urgency) for h in ahead.hints(9)] == [(1, 3, 3)]
    assert ahead.hints(0) == []


def test_the_scheduled_victim_goes_and_otherwise_the_farthest() -> None:
    ahead = future(0, 1, 5)
    policy = Belady(ahead)
    for expert in (0, 1, 5):
        policy.admitted(expert)
    six = Order(PREFETCH, 1, 0.0, 6, 1)
    assert policy.victim(six, range(9), {5}) == 5
    assert policy.victim(six, {*range(9)} - {5}, set()) is None, "0 and 1 are needed before 6"
    ahead.advance(0, [0, 1])
    assert policy.victim(Order(DEMAND, 0, 0.0, 4, 1), {*range(9)} - {5}, set()) == 0, "used at 4; 1 is at 2"


def test_an_empty_slot_needs_no_victim() -> None:
    ahead = future(0, 1)
    assert ahead.planned_victim(6) is None
    assert ahead.planned_victim(7) == 6


def test_a_need_of_more_experts_than_slots_is_served_one_by_one() -> None:
    ahead = Future(Shape(layers=1, experts=4, slots=2))
    ahead.foresee([Need(0, (0, 1, 2))], [])
    assert [hint.expert for hint in ahead.hints(9)] == [0, 1]


def test_a_run_that_leaves_the_rehearsed_course_is_refused() -> None:
    ahead = future()
    with pytest.raises(Mismatch, match="need 0 is layer 1"):
        ahead.advance(1, [2])
