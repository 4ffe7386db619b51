"""An emulated link whose transfers can be overtaken: five blocks of 2 s to a record, two of them in flight."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.api import LinkSpec, Transfer
from systems.cache.clock import VirtualClock
from systems.cache.expert_cache import ExpertCache
from systems.cache.ledger import Ledger
from systems.cache.occupancy import Occupancy
from systems.cache.transport import EmulatedLink
from systems.policies.residency import Lru
from systems.store.slot_table import SlotTable

RECORD, BLOCK = 10, 2


class Rig:
    """Three layers of four experts over a link of one byte a second."""

    def __init__(self, block: int | None = BLOCK, latency: float = 0.0, batch_io: int = 1, slots: int = 8) -> None:
        self.clock = VirtualClock()
        ledger = Ledger(3, RECORD)
        transport = EmulatedLink(LinkSpec(1.0, latency, virtual=True, block=block), RECORD, self.clock)
        self.cache = ExpertCache(Occupancy(SlotTable(slots, 12), Lru(), ledger), transport, ledger, 4, batch_io)
        self.transport = transport
        self.heard: list[Transfer] = []
        self.cache.watch(self.heard.append)

    def arrivals(self, layer: int, experts: Sequence[int]) -> dict[int, float]:
        """Let a layer compute from experts as they arrive; return when each did."""
        return {expert: self.clock.now() for expert, _ in self.cache.visit(layer, dict.fromkeys(experts, 1))}


def test_a_demand_comes_behind_the_blocks_that_are_in_flight_and_the_rest_behind_the_demand() -> None:
    rig = Rig()
    rig.cache.prefetch(1, [0])
    rig.clock.spend(3.0)  # the second block is carried, the third is in flight
    assert rig.arrivals(0, [3]) == {3: 16.0}
    assert rig.arrivals(1, [0]) == {0: 20.0}
    assert rig.transport.busy_seconds() == 20.0


def test_what_is_carried_as_a_whole_is_not_overtaken() -> None:
    rig = Rig(block=None)
    rig.cache.prefetch(1, [0])
    rig.clock.spend(3.0)
    assert rig.arrivals(0, [3]) == {3: 20.0}
    assert rig.arrivals(1, [0]) == {0: 20.0}


@pytest.mark.parametrize(("asked", "arrives"), [(0.0, 14.0), (1.9, 14.0), (2.0, 16.0), (6.5, 20.0), (9.0, 20.0)])
def test_two_blocks_are_in_flight_whenever_a_demand_comes(asked: float, arrives: float) -> None:
    rig = Rig()
    rig.cache.prefetch(1, [0])
    rig.clock.spend(asked)
    assert rig.arrivals(0, [3]) == {3: arrives}


def test_demands_follow_each_other_and_what_they_have_overtaken_comes_last() -> None:
    rig = Rig()
    rig.cache.prefetch(2, [0])
    rig.clock.spend(3.0)
    assert rig.arrivals(0, [2, 3]) == {2: 16.0, 3: 26.0}
    rig.clock.spend(1.0)  # at 27 the fourth block is carried, and the last is in flight
    assert rig.arrivals(1, [1]) == {1: 40.0}
    assert rig.arrivals(2, [0]) == {0: 40.0}, "it came at 30"


def test_nobody_overtakes_what_somebody_waits_for() -> None:
    rig = Rig()
    rig.cache.prefetch(0, [0])
    rig.clock.spend(3.0)
    assert rig.arrivals(0, [0, 3]) == {0: 10.0, 3: 20.0}


def test_a_run_of_several_is_overtaken_between_its_records_too() -> None:
    rig = Rig(batch_io=2, latency=1.0)
    rig.cache.prefetch(1, [0, 1])
    rig.clock.spend(8.0)  # 1 + 3 blocks and a half: up to 1 + 10
    assert rig.arrivals(0, [3]) == {3: 11.0 + 1.0 + 10.0}
    assert rig.arrivals(1, [0, 1]) == {0: 22.0, 1: 32.0}


def test_a_block_may_be_as_large_as_a_record_or_larger() -> None:
    rig = Rig(block=16)
    rig.cache.prefetch(1, [0, 1, 2])
    rig.clock.spend(3.0)
    assert rig.arrivals(0, [3]) == {3: 30.0}, "the rest of one record and a whole one are in flight"
    rig = Rig(block=16, batch_io=3)
    rig.cache.prefetch(1, [0, 1, 2])
    rig.clock.spend(3.0)
    assert rig.arrivals(0, [3]) == {3: 30.0}


def test_blocks_of_two_records_are_in_flight_where_one_ends() -> None:
    rig = Rig()
    rig.cache.prefetch(1, [0, 1])
    rig.clock.spend(9.0)
    assert rig.arrivals(0, [3]) == {3: 22.0}, "behind the last block of one and the first of the next"
    rig.clock.spend(7.0)  # the demand came at 22, the rest of the second record until 30
    assert rig.arrivals(1, [0, 1]) == {0: 29.0, 1: 30.0}


def test_the_last_block_of_a_demand_has_one_of_a_prefetch_behind_it() -> None:
    rig = Rig()
    rig.cache.prefetch(2, [0])
    rig.clock.spend(3.0)
    visit = rig.cache.visit(0, {3: 1})  # from 6 to 16
    rig.clock.spend(12.5)
    assert rig.arrivals(1, [1]) == {1: 28.0}
    assert visit.take() == 3


def test_when_a_demand_starts_does_not_hang_on_when_somebody_looks() -> None:
    for computing in (5.0, 8.0):
        rig = Rig()
        rig.cache.install([0])
        rig.cache.prefetch(1, [0])
        rig.clock.spend(3.0)
        arrivals = {}
        for expert, _ in rig.cache.visit(0, {0: 1, 3: 1}):
            arrivals[expert] = rig.clock.now()
            if expert == 0:
                rig.clock.spend(computing)
        assert arrivals == {0: 3.0, 3: 16.0}


def test_what_has_been_seen_come_is_not_overtaken_though_the_clock_goes_back() -> None:
    rig = Rig()
    rig.cache.prefetch(1, [0])
    rig.clock.spend(11.0)
    assert rig.cache.lend(1) == [4]
    rig.cache.unpin([4])
    rig.clock.hide(8.0)
    assert rig.arrivals(0, [3]) == {3: 20.0}


def test_evicted_experts_go_back_before_a_demand_comes() -> None:
    rig = Rig(slots=1)
    link, desk = rig.transport, rig.cache._desk
    desk._write_back = True
    rig.arrivals(0, [0])
    assert link.free_at == 10.0
    assert rig.arrivals(0, [1]) == {1: 30.0}


def test_transfers_are_told_as_they_were_and_not_as_they_were_meant() -> None:
    rig = Rig()
    rig.cache.prefetch(1, [0])
    rig.clock.spend(3.0)
    rig.arrivals(0, [3])
    rig.clock.spend(9.0)
    rig.cache.take_traffic()
    assert sorted((one.expert, one.start, one.end) for one in rig.heard) == [(0, 0.0, 20.0), (3, 6.0, 16.0)]


EXPERTS = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)
ACTS = st.one_of(
    st.tuples(st.just("spend"), st.floats(0.0, 30.0), st.just([0])),
    st.tuples(st.just("prefetch"), st.integers(0, 2), EXPERTS),
    st.tuples(st.just("visit"), st.integers(0, 2), EXPERTS),
)


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(ACTS, max_size=12), st.sampled_from([4, 12]), st.sampled_from([2, 4, 10, 16]))
def test_the_link_carries_one_record_at_a_time_and_loses_none(
    acts: list[tuple[str, float, list[int]]], slots: int, block: int
) -> None:
    """A prefetch takes what it takes and what the demands take that have overtaken it, and nothing else."""
    rig = Rig(block, slots=slots)
    for act, argument, experts in acts:
        if act == "spend":
            rig.clock.spend(argument)
        elif act == "prefetch":
            rig.cache.prefetch(int(argument), experts)
        else:
            asked = rig.clock.now()
            assert all(asked <= arrived <= rig.clock.now() for arrived in rig.arrivals(int(argument), experts).values())
    rig.clock.spend(1000.0)
    rig.cache.backlog()  # the link does what it has not done yet
    rig.clock.spend(1000.0)
    rig.cache.take_traffic()
    demands = [one for one in rig.heard if not one.prefetch]
    for one in rig.heard:
        inside = [other for other in demands if one.start <= other.start < one.end and other is not one]
        assert one.end - one.start == pytest.approx(RECORD * (1 + len(inside)))
        assert not inside or one.prefetch, "demands follow each other"
    assert rig.transport.busy_seconds() == pytest.approx(RECORD * len(rig.heard))
    ends = sorted(one.end for one in rig.heard)
    assert all(later - end >= RECORD - 1e-6 for end, later in pairwise(ends) if block >= RECORD)
