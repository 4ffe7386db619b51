"""AdapMoE's cache (arXiv 2408.10284): each layer has its own number of slots, and prefetches land beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from systems.methods.adapmoe.allocation import evenly
from systems.policies.orders import PREFETCH, Order, Shape
from systems.policies.residency import Evictable, LayeredLru, spare_hinted


class AdaptiveLayers(LayeredLru):
    """Least recently used within a layer, beside a buffer that belongs to no layer.

    A prefetched expert lands in the buffer, so that it never takes the slot of a resident within its quota. When a
    layer uses it, it moves into the layer, whose least recent one stands for the buffer's empty slot from then on. One
    that its layer has not asked for frees its place when the layer has been served, as in the released code
    (PKU-SEC-Lab/AdapMoE @2cfe8df, `src/linear_cache.py`); it is still found there until something else lands.

    Attributes:
        buffer: slots outside the quotas, the first of all slots that prefetches get.
    """

    def __init__(self, shape: Shape, buffer: int) -> None:
        super().__init__(shape)
        self._shape = shape
        self._landed: dict[int, None] = {}
        """Experts that were admitted and that no layer has used yet, the oldest first."""
        self._served = -1
        """The layer that asked last: none up to it asks again in this forward. -1 behind the last one, where hints are
        about the next forward."""
        self.buffer = buffer
        self.divide(evenly(shape.slots - buffer, shape.layers), buffer)

    def divide(self, quotas: Sequence[int], buffer: int) -> None:
        """Give each layer its slots and prefetches the others; who is where now moves when something is admitted."""
        self.quotas, self.buffer = list(quotas), buffer

    def needed(self, experts: Mapping[int, int]) -> None:
        """Note which layer asks."""
        layer = next(iter(experts)) // self._experts
        self._served = layer if layer + 1 < self._shape.layers else -1

    def admitted(self, expert: int) -> None:
        """Land; a demanded expert is used at once."""
        self._landed[expert] = None

    def used(self, expert: int) -> None:
        """Become the layer's most recent, wherever it was."""
        if expert in self._landed:
            del self._landed[expert]
            super().admitted(expert)
        else:
            super().used(expert)

    def evicted(self, expert: int) -> None:
        """Leave the buffer or the layer."""
        if expert in self._landed:
            del self._landed[expert]
        else:
            super().evicted(expert)

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return for a prefetch what the buffer can do without; for a demand what its layer can, then the buffer."""
        if order.kind == PREFETCH:
            return self._for_prefetch(order, evictable, held)
        own = self._orders[order.layer]
        if len(own) >= self.quotas[order.layer] and (found := spare_hinted(own, order, evictable, held)) is not None:
            return found
        if (found := self._beyond_quota(order, evictable, held)) is not None:
            return found
        if (found := self._left_over(evictable, held)) is not None:
            return found
        for group in (own, *self._orders, self._landed):  # readers may pin all of a small layer's experts
            if (found := spare_hinted(group, order, evictable, held)) is not None:
                return found
        return None

    def _for_prefetch(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        if (found := self._left_over(evictable, held)) is not None:
            return found
        return self._beyond_quota(order, evictable, held) if len(self._landed) < self.buffer else None

    def _beyond_quota(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        for quota, group in zip(self.quotas, self._orders, strict=True):
            if len(group) > quota and (found := spare_hinted(group, order, evictable, held)) is not None:
                return found
        return None

    def _left_over(self, evictable: Evictable, held: Collection[int]) -> int | None:
        """The oldest in the buffer whose layer has been served, or that no hint names any more."""
        for expert in self._landed:
            if (expert not in held or expert // self._experts <= self._served) and expert in evictable:
                return expert
        return None
