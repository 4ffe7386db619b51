"""Copies that take turns with the computation, and evicted experts that go back: worked by hand, and really copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from systems.api import BadInput, LinkSpec, SystemConfig, Traffic
from systems.cache.clock import VirtualClock, WallClock
from systems.cache.expert_cache import ExpertCache
from systems.cache.ledger import Ledger
from systems.cache.link import Stuck
from systems.cache.occupancy import Occupancy
from systems.cache.part import InLinePart
from systems.cache.transport import EmulatedLink, HostTransport
from systems.policies.composition import Composition
from systems.policies.residency import Lru
from systems.store.checkpoint import ExpertShape
from systems.store.slot_table import SlotTable
from systems.store.slots import Slots

RECORD, LATENCY, TRANSFER, COMPUTE = 1000, 1.0, 10.0, 3.0
"""Bytes; seconds of a call, of a record's bytes, and of computing one expert."""


class Timed:
    """Two layers of four experts on a virtual clock."""

    def __init__(self, slots: int, in_line: InLinePart | None) -> None:
        self.clock = VirtualClock()
        link = EmulatedLink(LinkSpec(RECORD / TRANSFER, LATENCY), RECORD, self.clock)
        ledger = Ledger(2, RECORD)
        occupancy = Occupancy(SlotTable(slots, 8), Lru(), ledger)
        self.cache = ExpertCache(occupancy, link, ledger, 4, in_line=in_line)

    def layer(self, layer: int, experts: Sequence[int]) -> tuple[list[int], float]:
        """Compute these experts; return them in order, and the seconds it took."""
        start, order = self.clock.time, []
        for expert, _ in self.cache.visit(layer, dict.fromkeys(experts, 1)):
            order.append(expert)
            self.clock.spend(COMPUTE)
        return order, self.clock.time - start

    def traffic(self) -> Traffic:
        self.cache.end_generation()
        return self.cache.take_traffic()


def test_nothing_of_a_transfer_hides_under_computation() -> None:
    """Expert 0 is there; 1 and 2 are fetched, each in 11 s; beside the computation 3 s of each are hidden."""
    took = {}
    for in_line in (None, InLinePart()):
        rig = Timed(6, in_line)
        rig.layer(0, [0])
        order, took[in_line] = rig.layer(0, [0, 1, 2])
        assert order == [0, 1, 2], "residents first"
    assert took[None] == pytest.approx(2 * (LATENCY + TRANSFER) + COMPUTE)
    assert took[InLinePart()] == pytest.approx(2 * (LATENCY + TRANSFER) + 3 * COMPUTE)


@pytest.mark.parametrize("write_back", [False, True])
def test_an_evicted_expert_goes_back_before_its_slot_is_filled(write_back: bool) -> None:
    """Two slots: 2 takes an empty one, 3 and 1 evict, and those two misses are two transfers each."""
    rig = Timed(2, InLinePart(write_back))
    rig.layer(0, [0])
    order, took = rig.layer(0, [0, 2, 3, 1])
    assert order == [0, 2, 3, 1]
    transfers = 3 + (2 if write_back else 0)
    assert took == pytest.approx(transfers * (LATENCY + TRANSFER) + 4 * COMPUTE)
    found = rig.traffic()
    assert (found.moved_bytes, found.demand_bytes, found.evictions) == (4 * RECORD, 4 * RECORD, 2)
    assert found.written_back_bytes == (2 * RECORD if write_back else 0)
    assert found.link_busy == pytest.approx((4 + (2 if write_back else 0)) * (LATENCY + TRANSFER))


def test_more_experts_than_slots_are_served_one_by_one() -> None:
    rig = Timed(1, InLinePart(write_back=True))
    order, _ = rig.layer(1, [3, 0, 2])
    assert order == [3, 0, 2]
    assert rig.traffic().written_back_bytes == 2 * RECORD


def test_what_cannot_move_says_so() -> None:
    rig = Timed(1, InLinePart())
    rig.cache.visit(0, {0: 1}).take()
    with pytest.raises(Stuck, match="nothing can move: queued: demand of 1"):
        rig.cache.visit(0, {1: 1}).take()  # the first visit still reads its expert


def test_slots_are_really_copied_back_and_hold_what_they_claim() -> None:
    shape = ExpertShape(layers=(0, 1), experts=4, hidden=8, intermediate=8)
    record = shape.record_bytes(torch.float32)

    class Numbered:
        dtype = torch.float32

        def __init__(self) -> None:
            self.shape = shape

        def read(self, experts: Sequence[int], into: Sequence[torch.Tensor]) -> None:
            for expert, buffer in zip(experts, into, strict=True):
                buffer.view(torch.float32).fill_(expert)

        def close(self) -> None:
            pass

    slots, ledger = Slots(shape, torch.float32, 2, torch.device("cpu")), Ledger(2, record)
    transport = HostTransport(Numbered(), slots, WallClock())
    in_line = InLinePart(write_back=True)
    cache = ExpertCache(Occupancy(slots, Lru(), ledger), transport, ledger, 4, in_line=in_line)
    returned = []
    for expert in (0, 1, 2, 3):
        for local, place in cache.visit(1, {expert: 1}):
            assert slots.slab[place, 0] == 4 + local
        if transport._outside is not None:
            returned.append(int(transport._outside.view(torch.float32)[0]))
    assert returned == [4, 5], "experts 0 and 1 of layer 1 went back before they were overwritten"
    assert cache.take_traffic().written_back_bytes == 2 * record


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"predictor": {"part": "next_gate"}, "prefetch": {"part": "next_layers"}},
            "transfer.part=in_line carries nothing ahead; set prefetch.part=none in place of next_layers",
        ),
        ({"residency": {"part": "all"}}, "residency.part=all moves nothing, which transfer.part=in_line would"),
    ],
)
def test_parts_that_would_do_nothing_are_refused(parts: dict[str, Any], said: str) -> None:
    config = SystemConfig("made", "by hand", transfer={"part": "in_line"}, **parts)
    with pytest.raises(BadInput, match=said):
        Composition.of(config).check()
