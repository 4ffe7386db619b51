"""MoE-Infinity's released cache: first come stays; several tokens pass through one slot, one token evicts."""

from __future__ import annotations

from collections.abc import Mapping

from systems.methods.moe_infinity.visit_count import VisitCount
from systems.policies.orders import DEMAND, Order, Shape
from systems.replay.statistics import Statistics
from tests.systems.replay.test_synthetic import COSTS, LINK, SHAPE, made, replayed
from tests.systems.tiny import SYSTEMS

ANYTHING = range(100)


def order() -> Order:
    return Order(DEMAND, 0, 0.0, 99, 0)


def filled(visits: Mapping[int, int]) -> VisitCount:
    policy = VisitCount(Shape(layers=2, experts=4, slots=len(visits)), top_k=2)
    for expert, count in visits.items():
        policy.admitted(expert)
        for _ in range(count):
            policy.used(expert)
    return policy


def test_one_token_evicts_the_least_visited_and_the_oldest_of_equals() -> None:
    policy = filled({0: 2, 5: 1, 3: 1})
    policy.needed({1: 1, 2: 1})
    assert policy.victim(order(), ANYTHING, set()) == 5
    assert policy.victim(order(), {0, 3}, set()) == 3
    assert policy.victim(order(), (), set()) is None


def test_several_tokens_pass_through_the_slot_that_was_filled_last() -> None:
    policy = filled({0: 2, 5: 1, 3: 9})
    policy.needed({1: 1, 2: 2})
    assert policy.victim(order(), ANYTHING, set()) == 3
    assert policy.victim(order(), {0, 5}, set()) is None, "it waits until who passes has been computed"
    policy.evicted(3)
    assert policy.victim(order(), range(-9, 9), set()) is None, "a prompt streams through that slot"
    policy.admitted(7)
    assert policy.victim(order(), ANYTHING, set()) == 7


def test_a_visit_counts_after_its_expert_has_gone() -> None:
    policy = filled({0: 3, 5: 3})
    policy.evicted(0)
    policy.admitted(0)
    policy.used(0)
    policy.needed({2: 1})
    assert policy.victim(order(), ANYTHING, set()) == 5, "0 has four"


def test_verification_fills_the_cache_once_and_never_again() -> None:
    """Twelve slots of four layers with sixteen experts each: eleven stay, all of the first two layers.

    Not warmed up: a request before may end with a step of one token, which evicts.
    """
    trace = made(Statistics(acceptance=0.8))
    sums, seconds = replayed(SYSTEMS["moe_infinity_as_released"], trace, slots=12, warm=False)
    hits = [(layer.resident, layer.needed) for layer in sums.layers]
    assert hits[0][0] / hits[0][1] > 0.4
    assert sums.evictions + 12 == sums.moved // SHAPE.record_bytes, "each miss takes the place of the one before"
    assert sum(hit for hit, _ in hits[2:]) < 0.02 * sum(needed for _, needed in hits[2:])
    # Who passes is computed before the next is fetched: a miss takes its transfer and its share of the layer.
    share = COSTS.target_layer[4] / 2 / SHAPE.experts
    assert seconds > sums.moved / SHAPE.record_bytes * (SHAPE.record_bytes / LINK.bandwidth + share)
