"""The cutoff on steps small enough to work out by hand: three layers, a slot for each.

A draft layer takes 1 s, half a target layer 1 s, a transfer 1 s: a step computes for 9 s, and each miss adds a second.
"""

from collections.abc import Sequence

import pytest

from systems.contract.costs import Costs, LinkSpec
from systems.policies.cutoff import DraftedStep, shortest, times_by_depth
from systems.policies.orders import Shape
from systems.policies.residency import LayeredLru
from systems.runtime.clock import VirtualClock
from systems.runtime.cutoff import CutoffSearch, WarmUp
from systems.runtime.expert_cache import ExpertCache
from systems.runtime.ledger import Ledger
from systems.runtime.occupancy import Occupancy
from systems.runtime.slot_table import SlotTable
from systems.runtime.transport import EmulatedLink
from tests.systems.tiny import requests

COSTS = Costs({1: 2.0}, {1: 1.0}, 1.0, 0.0)
LAYERS, EXPERTS = 3, 4


def cache() -> ExpertCache:
    ledger = Ledger(LAYERS, 1)
    link = EmulatedLink(LinkSpec(1.0, 0.0), 1, VirtualClock())
    occupancy = Occupancy(SlotTable(3, LAYERS * EXPERTS), LayeredLru(Shape(LAYERS, EXPERTS, 3)), ledger)
    return ExpertCache(occupancy, link, ledger, EXPERTS)


def search(needs: Sequence[Sequence[int]], hints: Sequence[Sequence[int]]) -> CutoffSearch:
    """Steps that need one expert per layer and name one."""
    found = CutoffSearch(cache, COSTS, WarmUp(LAYERS, 1))
    for needed, named in zip(needs, hints, strict=True):
        step = DraftedStep(hints=[{layer: [expert] for layer, expert in enumerate(named)}])
        step.needs = [{expert: 1} for expert in needed]
        found.warm_up.steps.append(step)
    return found


ALTERNATING = [[0, 0, 0], [1, 1, 1]]


def test_where_every_hint_is_right_and_hidden_all_layers_are_prefetched() -> None:
    """Every expert has gone when it is needed again. What is named while drafting arrives before its layer."""
    found = search(ALTERNATING, ALTERNATING)
    assert found.choose() == 3
    assert found.times == pytest.approx({0: 12.0, 1: 11.0, 2: 10.0, 3: 9.0})


def test_where_prefetches_evict_what_is_needed_nothing_is_prefetched() -> None:
    """Every layer needs the expert that it holds, and is told another, which takes its slot: an expected miss rate
    that was measured with prefetching would not tell the two apart."""
    found = search([[0, 0, 0], [0, 0, 0]], [[1, 1, 1], [2, 2, 2]])
    assert found.choose() == 0
    assert found.times[0] == pytest.approx(9.0)
    assert all(found.times[depth] > 9.9 for depth in (1, 2, 3))


def test_where_only_the_first_layers_gain_the_rest_is_left_alone() -> None:
    found = search([[0, 0, 0], [1, 1, 0]], [[0, 0, 1], [1, 1, 2]])
    assert found.choose() == 2
    assert found.times == pytest.approx({0: 11.0, 1: 10.0, 2: 9.0, 3: 10.0})


def test_nothing_seen_leaves_all_layers() -> None:
    assert search([], []).choose() == LAYERS


def test_of_equally_fast_depths_the_smallest_is_taken() -> None:
    assert shortest({0: 2.0, 1: 1.0, 2: 1.0 + 1e-12, 3: 3.0}) == 1


@pytest.mark.parametrize("best", [0, 5, 17, 30, 47, 48])
def test_of_many_layers_few_depths_are_played(best: int) -> None:
    played: list[int] = []

    def play(depth: int) -> float:
        played.append(depth)
        return abs(depth - best) + 1.0

    assert shortest(times_by_depth(play, 48)) == best
    assert len(played) == len(set(played)) <= 20


def test_the_warm_up_keeps_what_steps_asked_for() -> None:
    """Two drafted tokens, one of which is accepted: the next draft has one token to read; after two it has two."""
    seen = WarmUp(layers=2, top_k=1)
    seen.begin(requests(1, 9), frozenset())
    for accepted in (1, 2, 0):
        for experts in ([3], [4]):
            seen.hint(0, experts)
            seen.hint(1, [5])
        seen.visit(0, {3: 2, 1: 1})
        seen.visit(1, {5: 3})
        seen.step([0], [2], [accepted])
    first = seen.steps[0]
    assert first.hints == [{0: [3], 1: [5]}, {0: [4], 1: [5]}]
    assert first.needs == [{3: 2, 1: 1}, {5: 3}]
    assert [step.unread for step in seen.steps] == [1, 1, 2]
