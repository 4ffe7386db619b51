"""AdapMoE's predictor: what it orders, when it stops, and what it makes of a warm-up."""

from collections.abc import Iterable

import pytest

from systems.methods.adapmoe.adaptive_layers import AdaptiveLayers
from systems.methods.adapmoe.next_gate import Division, NextGate, Profile, pays
from systems.policies.hinting import Hinting, Prefetcher
from systems.policies.orders import Shape

SHAPE = Shape(layers=3, experts=8, slots=8)


class Cache(Prefetcher):
    """Holds what it is told to hold."""

    def __init__(self, residents: Iterable[int] = ()) -> None:
        self.residents, self.ordered = set(residents), list[tuple[int, list[int]]]()

    def prefetch(self, layer: int, experts: Iterable[int]) -> int:
        named = list(experts)
        self.ordered.append((layer, named))
        return len(self.absent(layer * SHAPE.experts + expert for expert in named))

    def absent(self, experts: Iterable[int]) -> list[int]:
        return [expert for expert in experts if expert not in self.residents]


def gate(
    cache: Cache, says: dict[int, list[int]], hides: float = 1.0, always: bool = False, division: Division | None = None
) -> NextGate:
    made = NextGate(
        lambda ahead, hidden: says[ahead],
        Hinting(cache, SHAPE),
        SHAPE,
        2,
        lambda tokens: hides * tokens,
        always,
        division,
    )
    made.decoding()
    return made


def test_the_first_missing_expert_is_ordered_and_residents_are_named_beside() -> None:
    """Of what layer 1 will need, 5 is there; 4 and 6 are missing and the link carries one in a layer's time."""
    cache = Cache([8 + 5])
    gate(cache, {1: [5, 4, 6], 2: [0]}).routed(0, None, [[1, 2]])
    assert cache.ordered == [(1, [5, 4])]


@pytest.mark.parametrize(("hides", "tokens", "count"), [(0.1, 1, 1), (1.9, 1, 1), (2.0, 1, 2), (1.0, 3, 3)])
def test_as_many_are_ordered_as_cross_the_link_in_the_time_of_a_layer(hides: float, tokens: int, count: int) -> None:
    cache = Cache()
    gate(cache, {1: [5, 4, 6], 2: [0]}, hides).routed(0, None, [[1]] * tokens)
    assert cache.ordered == [(1, [5, 4, 6][:count])]


def test_it_looks_further_where_nothing_is_missing_and_not_beyond_the_last_layer() -> None:
    cache = Cache([8 + 5])
    looking = gate(cache, {1: [5], 2: [0, 3]})
    looking.routed(0, None, [[1]])
    assert cache.ordered == [(1, [5]), (2, [0])]
    looking.routed(2, None, [[1]])
    assert len(cache.ordered) == 2


def test_a_prompt_is_none_of_its_business() -> None:
    cache = Cache()
    looking = gate(cache, {1: [5], 2: [0]})
    looking.reading(0, [3])
    looking.routed(0, None, [[1]])
    assert cache.ordered == []


def warm(looking: NextGate, forwards: list[list[int]]) -> None:
    """Let forwards pass, each with one token's expert of every layer."""
    looking.learn(True)
    for experts in forwards:
        for layer, expert in enumerate(experts):
            looking.routed(layer, None, [[expert]])
    looking.learn(False)


@pytest.mark.parametrize(
    ("hides", "always", "looks"), [(1.0, False, True), (1 / 16, False, False), (1 / 16, True, True)]
)
def test_after_the_warm_up_it_looks_ahead_where_that_pays(hides: float, always: bool, looks: bool) -> None:
    """Three of four names are right: enough on a link as fast as a layer, not on one that takes sixteen."""
    cache = Cache()
    looking = gate(cache, {1: [5], 2: [0]}, hides, always)
    warm(looking, [[turn % 8, 5 if turn % 4 else 3, 0 if turn % 4 else 7] for turn in range(40)])
    assert looking.describe() == {"looks_ahead": looks}
    cache.ordered.clear()
    looking.routed(0, None, [[1]])
    assert bool(cache.ordered) == looks


def test_the_division_gives_the_buffer_its_slots_and_the_unforetold_layer_the_most() -> None:
    """All layers cycle through four experts; layers 1 and 2 are foretold, layer 0 cannot be."""
    says = {1: [0], 2: [0]}
    cache, residency = Cache(), AdaptiveLayers(SHAPE, 2)
    looking = gate(cache, says, 1.0, division=Division(residency, 1, 2))
    looking.learn(True)
    for turn in range(40):
        says[1] = says[2] = [turn % 4]
        for layer in range(3):
            looking.routed(layer, None, [[turn % 4]])
    looking.learn(False)
    assert residency.buffer == 2
    assert residency.quotas == [4, 1, 1]


def test_without_looking_ahead_there_is_no_buffer_and_no_miss_is_hidden() -> None:
    """Layers 1 and 2 cycle through four experts, and there are slots for one of them to keep all. Layer 1 is always
    foretold and layer 2 never, too seldom to look ahead: then neither needs the slots more than the other."""
    says = {1: [0], 2: [7]}
    residency = AdaptiveLayers(SHAPE, 2)
    looking = gate(Cache(), says, 0.5, division=Division(residency, 1, 2))
    looking.learn(True)
    for turn in range(40):
        says[1] = [turn % 4]
        for layer in range(3):
            looking.routed(layer, None, [[turn % 4 if layer else 5]])
    looking.learn(False)
    assert not looking.looks
    assert residency.buffer == 0
    assert residency.quotas == [1, 4, 1]


def test_a_profile_counts_what_was_named_and_what_of_it_was_missing() -> None:
    """Layer 1 needs 1 and 2, of which 1 is named and there; then 3 and 4, both named, of which 4 is missing."""
    profile = Profile(2)
    profile.met(0, [7], 2.0)
    profile.named(1, [1, 5], [5])
    profile.met(1, [1, 2], 2.0)
    profile.met(0, [7], 1.0)
    profile.named(1, [3, 4], [4])
    profile.met(1, [3, 4], 1.0)
    assert profile.accuracies == [0.0, 0.75], "nothing comes before the first layer"
    assert profile.precision == 0.5
    assert profile.hides == 1.5
    assert profile.busy(1) == 0.75, "all but the second need of layer 0"
    profile.met(1, [1], 1.0)
    assert profile.accuracies == [0.0, 0.6], "what was named for one forward says nothing of the next"
    assert profile.precision == 0.5


def test_whether_prefetches_pay() -> None:
    assert pays(precision=0.7, busy=1.0, hides=1.0), "0.7 x 0.5 > 0.3 x 0.5"
    assert not pays(precision=0.7, busy=1.0, hides=0.5), "0.7 x 0.25 < 0.3 x 0.75"
    assert pays(precision=0.7, busy=0.2, hides=0.5), "0.7 x 0.45 > 0.3 x 0.2 x 0.55"
    assert pays(precision=0.5, busy=0.2, hides=0.5), "a wrong one is seldom in the way: 0.5 x 0.45 > 0.5 x 0.2 x 0.55"
    assert not pays(precision=0.9, busy=1.0, hides=1 / 16)
    assert pays(precision=1.0, busy=1.0, hides=1 / 16), "never wrong, never in the way"
    assert not pays(precision=0.0, busy=1.0, hides=100.0)
