"""The target as its own draft, with those of its experts that are in fast memory anyway (SpecMoE, arXiv 2604.10152).

Everything else is shared, the KV cache included: drafting moves no byte and takes no memory of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from systems.cache.clock import Pace
from systems.cache.expert_cache import ExpertCache
from systems.drafters.self_draft import SelfDrafter
from systems.methods.spec_moe.affinity import Affinity
from systems.modeling.experts import Arithmetic, Dispatch, ExpertPort, mix
from systems.runtime.drafting import Draft
from systems.runtime.sampling import Chooser
from systems.store.slots import Places, Slots
from systems.store.store import ExpertStore


class ResidentSelf(SelfDrafter):
    """Drafts with resident experts.

    Args:
        cache: holds the experts.
        affinity: says which of them stand in for what the gate chose.
        pace: how long a layer takes on a virtual clock.
    """

    def __init__(self, port: ExpertPort, cache: ExpertCache, draft_length: int, affinity: Affinity, pace: Pace) -> None:
        super().__init__(port, draft_length, fast_bytes=0)
        assert isinstance(cache.slots, Places)
        self._cache, self._slots, self._affinity, self._pace = cache, cache.slots, affinity, pace

    def propose(self, chooser: Chooser, length: int) -> Draft:
        """Draft with who has been pinned since the last proposal."""
        self._affinity.forget()
        return super().propose(chooser, length)

    def _mix(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
        self._pace.half_layer(len(hidden))
        stand_ins = [list(self._affinity.stand_ins(layer, token)) for token in chosen.tolist()]
        dispatch = Dispatch(stand_ins, chosen.device)
        base = layer * self._cache.experts
        places = [(expert, self._cache.place(base + expert)) for expert in dispatch.needed]
        mixed = mix(self._slots, places, dispatch, hidden, weights, arithmetic)
        self._cache.computed_from([base + expert for expert in dispatch.needed])
        self._pace.half_layer(len(hidden))
        return mixed


def nearest_experts(store: ExpertStore) -> list[list[list[int]]]:
    """Return per layer and expert all experts of the layer, by the L2 distance of all their weights, nearest first."""
    experts = store.shape.experts
    staging = Slots(store.shape, store.dtype, experts, torch.device("cpu"))
    tables = []
    for first in range(0, store.shape.count, experts):
        for number in range(experts):
            store.read([first + number], [staging.raw[number]])
        weights = staging.slab.float()
        tables.append(torch.cdist(weights, weights).argsort(dim=-1, stable=True).tolist())
    return tables
