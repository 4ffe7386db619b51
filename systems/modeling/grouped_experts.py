"""Routed experts of a device by a few kernels a layer, in place of a few per expert."""

from __future__ import annotations

from torch import Tensor

from systems.cache.arrivals import Visit
from systems.modeling.experts import Arithmetic, CachedExperts, Dispatch
from systems.modeling.offloaded import Gated
from systems.operators import grouped
from systems.store.slots import Slots


class GroupedExperts(CachedExperts):
    """Computes those that are there at once, and each of the others when it has come; see `systems.operators.grouped`.

    What the kernels do not compute is computed as ever: other experts than gated ones with SiLU, many rows, other
    dtypes, and layers of which the host computes some.
    """

    def compute(
        self, visit: Visit, dispatch: Dispatch, hidden: Tensor, weights: Tensor, arithmetic: Arithmetic
    ) -> Tensor:
        """Compute what a layer is handed out; see `mix`."""
        slots = self.slots
        assert isinstance(slots, Slots)
        if visit.apart or not (known(arithmetic) and grouped.serves(hidden, slots.slab)):
            return super().compute(visit, dispatch, hidden, weights, arithmetic)
        mixing = grouped.Mixing(slots.slab, hidden, weights, dispatch.chosen)
        for wave in visit.waves():
            mixing.add((expert, slots.row_of(place)) for expert, place in wave)
            if self.pace is not None:
                for _ in wave:
                    self.pace.expert(len(hidden), len(dispatch.needed))
        return mixing.mixed


def known(arithmetic: Arithmetic) -> bool:
    """Whether the kernels compute experts of that kind."""
    return isinstance(arithmetic, Gated) and arithmetic.by_silu
