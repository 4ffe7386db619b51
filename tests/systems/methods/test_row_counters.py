"""MoE-SpAc's counters: rows of verifications raise and lower them, and they alone say who comes and who goes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from systems.api import BadInput
from systems.methods.moe_spac.row_counters import RowCounters
from systems.policies.orders import DEMAND, PREFETCH, Order, Shape
from tests.systems.handmade import COSTS, replay, trace
from tests.systems.tiny import SYSTEMS

ANYTHING = range(100)
MOE_SPAC = SYSTEMS["moe_spac"]


def counted(*forwards: dict[int, int]) -> RowCounters:
    policy = RowCounters(Shape(layers=2, experts=4, slots=3))
    for rows in forwards:
        policy.needed(rows)
    return policy


def test_a_verification_moves_a_counter_by_one_at_most() -> None:
    """Up from five rows more than it says, down from one fewer; ids 4 to 7 are the second layer's."""
    nine = {4: 9, 5: 5, 6: 4}
    assert counted(nine).counters == [0, 0, 0, 0, 1, 1, 0, 0]
    assert counted(nine, nine).counters[4:] == [2, 1, 0, 0], "five rows are four more than 1"
    assert counted(*[nine] * 4, {0: 1}).counters[4:] == [4, 1, 0, 0], "other layers' forwards do not count"
    assert counted(*[nine] * 9).counters[4:] == [5, 1, 0, 0], "9 - 4 raises to 5, where counters end"
    assert counted(*[nine] * 9, {6: 9}, {6: 1}).counters[4:] == [3, 0, 1, 0], "experts without rows fall"
    assert counted(*[{4: 99}] * 9).counters[4] == 5


def test_the_lowest_counter_gives_way_and_never_to_a_lower_or_equal_one() -> None:
    policy = counted({0: 9, 1: 9, 2: 9}, {0: 9, 1: 9, 2: 1}, {0: 9, 1: 2, 2: 1})
    assert policy.counters[:4] == [3, 2, 1, 0]
    for expert in (2, 0, 1):
        policy.admitted(expert)
    for wanted, counter, victim in ((5, 0, None), (6, 1, None), (7, 2, 2), (4, 4, 2)):
        policy.counters[wanted] = counter
        assert policy.victim(Order(PREFETCH, 0, 0.0, wanted, 1), ANYTHING, ANYTHING) == victim
    assert policy.victim(Order(PREFETCH, 0, 0.0, 4, 1), {0, 1}, ()) == 1
    assert policy.victim(Order(DEMAND, 0, 0.0, 5, 1), ANYTHING, ()) == 2, "a layer that waits is served"
    policy.needed({3: 1})
    policy.needed({2: 1})
    policy.evicted(2)
    assert policy.victim(Order(DEMAND, 0, 0.0, 5, 1), ANYTHING, ()) == 1, "1 has fallen to 0, 0 to 1"


def paths(*steps: Sequence[int]) -> list[list[list[list[int]]]]:
    """One layer: per step the expert of the last token and of each of the five drafts, none of which is right."""
    return [[[[expert]] for expert in step] for step in steps]


def test_who_reaches_the_threshold_is_fetched_and_the_others_are_computed_in_place() -> None:
    """A step takes a quarter of a second per draft, a second, and half a second of the host per expert. Six rows raise
    0 to 1 in step 1, which ends at 2.75 and orders it. It arrives at 5.75, when step 2, which asked at 5.0, has had the
    host compute it; step 3 finds it there. Step 4 raises 3, 1 and 2 never have rows enough."""
    config = dataclasses.replace(MOE_SPAC, drafter={"part": "model", "draft_length": 5})
    six, mixed = [0] * 6, [0, 0, 0, 1, 1, 2]
    costs = dataclasses.replace(COSTS, target_layer={1: 2.0, 6: 2.0})
    meter, system = replay(config, trace(paths(six, six, mixed, [3] * 6, mixed)), slots=2, costs=costs)
    assert meter.of("elsewhere") == [1, 1, 2, 1, 2]
    assert meter.of("on_time") == [0, 0, 1, 0, 0]
    assert meter.of("resident") == [0, 0, 0, 0, 1]
    assert meter.of("prefetched") == [1, 0, 0, 1, 0]
    assert system.cache.slots.residents == [0, 3]


@pytest.mark.parametrize(
    "changes",
    [{"residency": {"part": "lru"}}, {"predictor": {"part": "none"}, "prefetch": {"part": "none"}}],
)
def test_who_counts_and_who_fetches_go_together(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="row_counters go together"):
        replay(dataclasses.replace(MOE_SPAC, **changes), trace(paths([0] * 6)), slots=2)
