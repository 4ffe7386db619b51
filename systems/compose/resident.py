"""A target whose experts are all in fast memory: what micro-benchmarks compute with, and what is recorded from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from systems.compose.composed import Parts
from systems.compose.live import LiveAssembly, kind_of_experts
from systems.contract.config import SystemConfig
from systems.contract.costs import Costs, LinkSpec
from systems.modeling.experts import Mixer
from systems.policies.composition import Composition
from systems.policies.orders import Shape
from systems.runtime.pair import Pair
from systems.store.slots import LayerSlots, Places

NOTHING = Costs({1: 0.0}, {1: 0.0}, 0.0, 0.0)
_ROOM = 0.7
"""Share of a device's free memory that experts may take while something is recorded: the rest is for computing."""


@contextmanager
def resident_experts(pair: Pair) -> Iterator[Mixer]:
    """While active, all experts of the target are in fast memory; yield what computes them.

    On a device that does not hold them all, all layers compute with the experts of one: it takes as long, and what it
    computes is wrong.
    """
    # Read where all systems of an emulated link read them.
    link = LinkSpec(float("inf"), 0.0) if pair.device == "cpu" else None
    composition = Composition.of(SystemConfig("resident", "", residency={"part": "all"}))
    shape = Shape(pair.num_layers, pair.num_experts, pair.store.shape.count)
    assembly = _OneLayer if not holds(pair, pair.expert_bytes) else LiveAssembly
    cache = assembly(composition, pair, shape, link, NOTHING).parts().cache
    try:
        yield kind_of_experts(pair)(cache)
    finally:
        cache.close()


@contextmanager
def recorded_parts(pair: Pair, config: SystemConfig) -> Iterator[Parts]:
    """While active, a system on a virtual clock whose experts are all in fast memory, or as many as a device holds."""
    slots = pair.store.shape.count
    while slots > pair.num_experts and not holds(pair, int(slots * pair.record_bytes / _ROOM)):
        slots = max(pair.num_experts, slots * 3 // 4)
    shape = Shape(pair.num_layers, pair.num_experts, slots)
    parts = LiveAssembly(Composition.of(config), pair, shape, None, NOTHING, virtual=True).parts()
    try:
        yield parts
    finally:
        parts.cache.close()


def holds(pair: Pair, nbytes: int) -> bool:
    """Whether the pair's device has room for so much more; a host always has."""
    if pair.device == "cpu":
        return True
    from systems.runtime import cuda

    return cuda.holds(torch.device(pair.device), nbytes)


class _OneLayer(LiveAssembly):
    """All layers' experts in the memory of one layer's."""

    def slots(self) -> Places:
        """See `LayerSlots`."""
        store = self.pair.store
        return LayerSlots(store.shape, store.dtype, self.device)
