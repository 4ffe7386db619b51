"""Who stays in fast memory: residency policies choose the victim when a slot is needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from systems.policies.orders import DEMAND, Order, Shape


class Evictable:
    """Experts that may go at all: nobody reads them, and they are not on their way."""

    def __contains__(self, expert: int) -> bool:
        """Whether an expert may go."""
        raise NotImplementedError


class Residency:
    """Order among resident experts. A policy overrides what it cares about, and `victim` in any case."""

    def admitted(self, expert: int) -> None:
        """An expert has been given a slot."""

    def needed(self, experts: Mapping[int, int]) -> None:
        """A layer needs these experts, each for so many tokens, wherever they are; told once per forward."""

    def used(self, expert: int) -> None:
        """A layer needs a slotted expert; told once per need."""

    def evicted(self, expert: int) -> None:
        """An expert has lost its slot."""

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the expert that makes room for `order`, None if it has to wait.

        Args:
            evictable: experts that may go at all.
            held: experts that the hints of the current step name. Sparing them is the policy's business.
        """
        raise NotImplementedError

    def resized(self, slots: int) -> None:
        """There are so many slots from now on; who had to leave has left."""

    def learn(self, on: bool) -> None:
        """The warm-up begins or ends; what is learned from it is fixed when it ends."""

    def favourites(self) -> list[int]:
        """Return the experts to load when the warm-up has ended; none leaves the slots as they are."""
        return []


def spare_hinted(
    candidates: Sequence[int] | Iterable[int], order: Order, evictable: Evictable, held: Collection[int]
) -> int | None:
    """Return the first candidate that may go and no hint names; for a demand even one that a hint names."""
    hinted: int | None = None
    for expert in candidates:
        if expert in held:
            if hinted is None and expert in evictable:
                hinted = expert
        elif expert in evictable:
            return expert
    return hinted if order.kind == DEMAND else None


class Roster(Residency):
    """Knows who is resident, in the order of arrival."""

    def __init__(self) -> None:
        self._order: OrderedDict[int, None] = OrderedDict()

    def admitted(self, expert: int) -> None:
        """Enter last."""
        self._order[expert] = None

    def evicted(self, expert: int) -> None:
        """Leave."""
        del self._order[expert]


class Lru(Roster):
    """Least recently used, one recency order over all layers."""

    def used(self, expert: int) -> None:
        """Become most recent."""
        self._order.move_to_end(expert)

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the least recent expert that may go, hinted ones last and for a demand only."""
        return spare_hinted(self._order, order, evictable, held)


class LayeredLru(Residency):
    """Least recently used within a layer, each layer with its own number of slots.

    Mixtral-Offloading's cache (arXiv 2312.17238), with the same number for every layer. A layer may go beyond its
    quota while others do not use theirs; it is the first to give way then.
    """

    def __init__(self, shape: Shape) -> None:
        self._experts = shape.experts
        self.quotas = [shape.slots // shape.layers + (i < shape.slots % shape.layers) for i in range(shape.layers)]
        self._orders: list[dict[int, None]] = [{} for _ in range(shape.layers)]
        """Per layer, the least recent first; few enough that a plain dictionary is the faster one."""

    def admitted(self, expert: int) -> None:
        """Enter the layer as most recent."""
        self._orders[expert // self._experts][expert] = None

    def used(self, expert: int) -> None:
        """Become the layer's most recent."""
        order = self._orders[expert // self._experts]
        del order[expert]
        order[expert] = None

    def evicted(self, expert: int) -> None:
        """Leave the layer."""
        del self._orders[expert // self._experts][expert]

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the layer's own least recent if its quota is used up, else that of a layer beyond its quota."""
        own = self._orders[order.layer]
        full = len(own) >= self.quotas[order.layer]
        if full and (found := spare_hinted(own, order, evictable, held)) is not None:
            return found
        for layer, others in enumerate(self._orders):
            beyond = layer != order.layer and len(others) > self.quotas[layer]
            if beyond and (found := spare_hinted(others, order, evictable, held)) is not None:
                return found
        if not full and (found := spare_hinted(own, order, evictable, held)) is not None:
            return found
        if order.kind == DEMAND:  # readers may pin all of a small layer's experts; it then takes what it can get
            for group in self._orders:
                if (found := spare_hinted(group, order, evictable, held)) is not None:
                    return found
        return None


class StaticHot(Lru):
    """The most popular experts of the warm-up stay; the others pass through the last slot.

    Popularity is counted offline and then fixed, and its head loaded at once, as Fiddler's released placement is
    (arXiv 2402.07033). Until the warm-up has ended the policy is LRU.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = shape
        self._counts: dict[int, int] = {}
        self._learning = False
        self._shelves: dict[int, OrderedDict[int, None]] = {0: OrderedDict()}
        """Residents by popularity, the least popular first, each shelf in the order of use; while it is learned, all on
        one. With thousands of experts, ranking them at each eviction would take as long as a transfer."""

    def admitted(self, expert: int) -> None:
        """Enter last."""
        super().admitted(expert)
        self._shelf(expert)[expert] = None

    def used(self, expert: int) -> None:
        """Become most recent."""
        super().used(expert)
        self._shelf(expert).move_to_end(expert)

    def evicted(self, expert: int) -> None:
        """Leave."""
        super().evicted(expert)
        del self._shelf(expert)[expert]

    def learn(self, on: bool) -> None:
        """Count during the warm-up only; when it ends, rank by what was counted."""
        self._learning = on
        counts = {0} if on else {0, *self._counts.values()}
        self._shelves = {count: OrderedDict() for count in sorted(counts)}
        for expert in self._order:
            self._shelf(expert)[expert] = None

    def needed(self, experts: Mapping[int, int]) -> None:
        """Count, while popularity is still learned."""
        if self._learning:
            for expert in experts:
                self._counts[expert] = self._counts.get(expert, 0) + 1

    def favourites(self) -> list[int]:
        """The most popular experts, as many as there are slots."""
        return sorted(self._counts, key=lambda expert: -self._counts[expert])[: self._shape.slots]

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the least popular expert that may go; among equals the least recent."""
        return spare_hinted(chain.from_iterable(self._shelves.values()), order, evictable, held)

    def _shelf(self, expert: int) -> OrderedDict[int, None]:
        return self._shelves[0 if self._learning else self._counts.get(expert, 0)]
