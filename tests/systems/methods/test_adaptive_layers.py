"""AdapMoE's cache: prefetches land beside the residents, and move in when they are used."""

import pytest

from systems.api import BadInput
from systems.cache.ledger import Ledger
from systems.cache.occupancy import Occupancy
from systems.methods.adapmoe.adaptive_layers import AdaptiveLayers
from systems.methods.adapmoe.part import AdaptiveLayersPart
from systems.policies.orders import DEMAND, PREFETCH, Order, Shape
from systems.store.slot_table import SlotTable

SHAPE = Shape(layers=3, experts=8, slots=8)
ANYTHING = range(100)


class Fast:
    """Eight slots: two residents of each of three layers, and a buffer of two; nothing takes time."""

    def __init__(self) -> None:
        self.policy = AdaptiveLayers(SHAPE, 2)
        self.slots = SlotTable(SHAPE.slots, SHAPE.layers * SHAPE.experts)
        self.occupancy = Occupancy(self.slots, self.policy, Ledger(SHAPE.layers, 1))
        for expert in (0, 1, 8, 9, 16, 17):
            assert self.demand(expert)

    @property
    def residents(self) -> list[int]:
        return sorted(self.slots.residents)

    def demand(self, expert: int) -> bool:
        self.occupancy.needed({expert: 1})
        if not self.occupancy.admit(Order(DEMAND, 0, 0.0, expert, expert // 8)):
            return False
        self.occupancy.loading.clear()
        self.occupancy.unpin(expert)
        return True

    def prefetch(self, expert: int) -> bool:
        self.occupancy.held.add(expert)
        taken = self.occupancy.admit(Order(PREFETCH, 0, 0.0, expert, expert // 8))
        self.occupancy.loading.clear()
        return taken

    def use(self, expert: int) -> None:
        self.occupancy.needed({expert: 1})
        self.occupancy.pin(expert)
        self.occupancy.unpin(expert)

    def end_step(self) -> None:
        self.occupancy.held.clear()


def test_prefetches_take_no_slot_of_a_resident() -> None:
    fast = Fast()
    fast.use(0)
    assert [fast.prefetch(expert) for expert in (10, 11, 12, 20)] == [True, True, False, False]
    assert fast.residents == [0, 1, 8, 9, 10, 11, 16, 17]


def test_a_prefetched_expert_moves_into_its_layer_when_it_is_used_and_the_least_recent_one_makes_room() -> None:
    fast = Fast()
    fast.use(0)
    fast.prefetch(10)
    fast.prefetch(18)
    fast.use(10)
    assert fast.prefetch(19), "8 is beyond its layer's quota now: its slot is the buffer's"
    assert fast.residents == [0, 1, 9, 10, 16, 17, 18, 19]
    assert fast.demand(12)
    assert fast.residents == [0, 1, 10, 12, 16, 17, 18, 19], "of 9 and 10 the layer used 9 longer ago"


def test_what_its_layer_did_not_ask_for_gives_way_when_the_layer_has_been_served() -> None:
    fast = Fast()
    fast.use(0)
    fast.prefetch(10)
    fast.prefetch(11)
    assert not fast.prefetch(12), "layer 1 may ask for both"
    fast.use(8)
    assert fast.prefetch(18), "layer 1 has asked, and for neither"
    assert fast.residents == [0, 1, 8, 9, 11, 16, 17, 18]


def test_what_no_hint_names_any_more_gives_way_the_oldest_first() -> None:
    fast = Fast()
    fast.use(0)
    fast.prefetch(18)
    fast.prefetch(19)
    fast.use(16)
    assert not fast.prefetch(2), "behind the last layer hints are about the next forward"
    fast.end_step()
    assert fast.prefetch(3)
    assert fast.residents == [0, 1, 3, 8, 9, 16, 17, 19]


def test_a_leftover_is_found_where_it_lies() -> None:
    fast = Fast()
    fast.use(0)
    fast.prefetch(10)
    fast.use(8)
    fast.use(16)
    fast.end_step()
    fast.use(0)
    fast.use(10)
    fast.prefetch(18)
    fast.prefetch(19)
    assert fast.residents == [0, 1, 8, 10, 16, 17, 18, 19], "10 has moved into its layer, and 9 has made room"


def test_a_demand_takes_its_own_layers_slot_then_the_buffers_and_any_at_last() -> None:
    fast = Fast()
    fast.use(0)
    fast.prefetch(10)
    fast.prefetch(11)
    order = Order(DEMAND, 0, 0.0, 12, 1)
    held = {10, 11}
    assert fast.policy.victim(order, ANYTHING, held) == 8
    assert fast.policy.victim(order, {*ANYTHING} - {8, 9}, set()) == 10, "readers pin the layer's own"
    assert fast.policy.victim(order, {*ANYTHING} - {8, 9}, held) == 1, "10 and 11 are still to be asked for"
    assert fast.policy.victim(order, {10, 11}, held) == 10
    assert fast.policy.victim(order, (), held) is None


def test_the_buffer_does_not_outgrow_its_slots() -> None:
    """Layer 2 has lost a slot to layer 0, which is beyond its quota; with two waiting in the buffer it stays so."""
    policy = AdaptiveLayers(SHAPE, 2)
    for expert in (0, 1, 2, 8, 9, 16):
        policy.admitted(expert)
        policy.used(expert)
    policy.admitted(10)
    prefetch = Order(PREFETCH, 1, 0.0, 12, 1)
    assert policy.victim(prefetch, ANYTHING, {10}) == 0
    policy.admitted(11)
    assert policy.victim(prefetch, ANYTHING, {10, 11}) is None


def test_a_division_without_a_buffer_gives_its_slots_back() -> None:
    fast = Fast()
    fast.use(0)
    fast.prefetch(10)
    fast.end_step()
    fast.policy.divide([2, 4, 2], 0)
    fast.demand(11)
    fast.demand(12)
    assert fast.residents == [0, 1, 8, 9, 11, 12, 16, 17], "10 was used by nobody, and layer 1 may have four"
    assert not fast.prefetch(13)


def test_the_buffer_leaves_each_layer_what_a_token_uses() -> None:
    options = AdaptiveLayersPart(buffer=6)
    assert options.room(Shape(8, 16, 42), top_k=2) == 6
    assert options.room(Shape(8, 16, 19), top_k=2) == 3
    assert options.room(Shape(8, 16, 9), top_k=2) == 1
    shape = Shape(8, 16, 19)
    assert AdaptiveLayers(shape, options.room(shape, 2)).quotas == [2] * 8
    with pytest.raises(BadInput, match=r"residency\.buffer=0 must be at least 1"):
        AdaptiveLayersPart(buffer=0)
