import pytest

from systems.methods.oracle.belady import Belady, Future, Mismatch
from systems.methods.oracle.course import NEVER, Course, Need
from systems.methods.oracle.schedules import NO_FETCHES, Fetch, Schedule, conservative
from systems.policies.orders import DEMAND, PREFETCH, Order, Shape

SHAPE = Shape(layers=2, experts=4, slots=3)
NEEDS = [Need(0, (0, 1)), Need(1, (2,)), Need(0, (1,)), Need(1, (3,)), Need(0, (0,))]
"""Ids: layer 0 has 0-3, layer 1 has 4-7. In order of need: 0 1 | 6 | 1 | 7 | 0."""


def future(*residents: int) -> Future:
    made, course = Future(SHAPE), Course(NEEDS, 4)
    made.follow(course, Schedule("test", conservative(course, residents, 3)))
    return made


def test_the_next_use_is_the_first_need_from_then_on() -> None:
    ahead = Course(NEEDS, 4)
    assert [ahead.next_use(expert, 0) for expert in (0, 1, 6, 7, 5)] == [0, 0, 1, 3, NEVER]
    assert [ahead.next_use(expert, 1) for expert in (0, 1, 6, 7)] == [4, 2, 1, 3]


def test_fetches_start_when_their_slot_has_served_its_last_reader() -> None:
    """With 0, 1 and the useless 5 in the three slots: 6 takes 5's at once; 7 takes 6's, free after need 1."""
    ahead = future(0, 1, 5)
    assert [(h.layer, h.expert) for h in ahead.hints(9)] == [(1, 2)]
    assert ahead.planned_victim(6) == 5
    assert ahead.planned_victim(7) == 6
    ahead.advance(0, [0, 1])
    ahead.advance(1, [2])
    assert [(h.layer, h.expert) for h in ahead.hints(9)] == [(1, 3)]
    assert ahead.hints(0) == []


def test_what_has_started_makes_room_among_the_hints() -> None:
    """However many are on their way: a fetch behind them is not kept from being named."""
    course = Course([Need(0, (expert,)) for expert in range(4)], 4)
    ahead = Future(SHAPE)
    ahead.follow(course, Schedule("test", conservative(course, [], 4)))
    assert [h.expert for h in ahead.hints(2)] == [0, 1]
    policy = Belady(ahead, 3)
    for expert in (0, 1):
        policy.admitted(expert)
    assert [h.expert for h in ahead.hints(2)] == [2, 3]


def test_a_fetch_whose_needs_have_passed_is_not_named() -> None:
    ahead = Future(SHAPE)
    ahead.follow(Course(NEEDS, 4), Schedule("test", [Fetch(0, 3, None, -1), Fetch(4, 7, None, -1)]))
    ahead.advance(0, [0, 1])
    assert [(h.layer, h.expert) for h in ahead.hints(9)] == [(1, 3)]


def test_the_scheduled_victim_goes_and_otherwise_the_farthest() -> None:
    ahead = future(0, 1, 5)
    policy = Belady(ahead, 3)
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
    course = Course([Need(0, (0, 1, 2))], 4)
    fetches = conservative(course, [], 2)
    assert [(fetch.expert, fetch.victim, fetch.freed) for fetch in fetches] == [(0, None, -1), (1, None, -1), (2, 0, 0)]


def test_what_a_need_has_read_may_give_way_to_what_it_misses() -> None:
    """0 is never needed again; without, 1 goes, which is, and is fetched again."""
    course = Course([Need(0, (0, 2)), Need(0, (1,))], 4)
    assert [(f.expert, f.victim) for f in conservative(course, [0, 1], 2, own=True)] == [(2, 0)]
    assert [(f.expert, f.victim) for f in conservative(course, [0, 1], 2)] == [(2, 1), (1, 0)]


def test_favourites_are_what_the_warm_up_used_most() -> None:
    policy = Belady(Future(SHAPE), 2)
    policy.needed({7: 1})
    assert policy.favourites() == []
    policy.learn(True)
    for expert in (3, 5, 3, 4, 5, 3):
        policy.needed({expert: 1})
    policy.learn(False)
    policy.needed({4: 1})
    assert policy.favourites() == [3, 5]


def test_a_run_that_leaves_the_rehearsed_course_is_refused() -> None:
    ahead = future()
    with pytest.raises(Mismatch, match="need 0 is layer 1"):
        ahead.advance(1, [2])
    ahead.follow(Course([], 4), NO_FETCHES)
    with pytest.raises(Mismatch, match="need 0 is layer 0"):
        ahead.advance(0, [0, 1])
