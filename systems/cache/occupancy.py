"""Who sits in which slot, and why: the bookkeeping of fast memory. No thread and no lock of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from systems.cache.ledger import Ledger
from systems.cache.transport import Arrival
from systems.policies.orders import DEMAND, Order
from systems.policies.residency import Evictable, Residency
from systems.store.slot_table import SlotTable

STAGING_SLOTS = 2
"""Slots that prefill streams through: one is read while the other fills."""


class Occupancy:
    """State of every slot: FREE (no owner), LOADING (its expert is in `loading`) or READY.

    Args:
        keeps: whether decoded experts stay after use; without, everything streams through the staging slots.

    Attributes:
        loading: experts on their way in the order of their transfers, with the arrival once it is known.
        unused: prefetched experts that no layer has read yet.
        held: experts that the hints of the current step name; residency policies spare them.
        counts_needs: whether the residency policy cares what is needed; most do not, and it is told at every layer.
        count: slots in use, the first ones.
        streaming: whether experts pass through the staging slots, which only readers vacate.
    """

    def __init__(self, slots: SlotTable, residency: Residency, ledger: Ledger, keeps: bool = True) -> None:
        self.slots = slots
        self._keeps = keeps
        self.loading: dict[int, Arrival | None] = {}
        self.unused: set[int] = set()
        self.held: set[int] = set()
        self._residency, self._ledger = residency, ledger
        self._free = list(range(len(slots)))[::-1]
        self._evictable = _Evictable(slots, self.loading)
        self._staging: list[int] = []
        self._streamed: set[int] = set()
        self.counts_needs = type(residency).needed is not Residency.needed
        self.streaming = False
        self.count = len(slots)

    def install(self, experts: Sequence[int]) -> list[tuple[int, int]]:
        """Let the slots hold these experts and nothing else; return `(expert, slot)` pairs to load. Not counted."""
        wanted = set(experts)
        for expert in [resident for resident in self.slots.residents if resident not in wanted]:
            slot = self.slots.of[expert]
            self.slots.release(slot)
            self._residency.evicted(expert)
            self._free.append(slot)
        pairs = []
        for expert in experts:
            if self.slots.of[expert] < 0 and self._free:
                slot = self._free.pop()
                self.slots.assign(slot, expert)
                self._residency.admitted(expert)
                pairs.append((expert, slot))
        return pairs

    def resize(self, count: int) -> None:
        """Use so many of the slots from now on; who sits in another leaves. Nothing may be on its way."""
        for slot, expert in enumerate(self.slots.owner):
            if slot >= count and expert >= 0:
                self.slots.release(slot)
                self._residency.evicted(expert)
        self.count = count
        self._free = [slot for slot in range(count) if self.slots.owner[slot] < 0][::-1]
        self._residency.resized(count)

    def needed(self, experts: Mapping[int, int]) -> None:
        """A layer needs these experts, each for so many tokens."""
        if not self.streaming:
            self._residency.needed(experts)

    def begin_streaming(self) -> None:
        """Until `end_streaming`, admit to a few staging slots only; they are vacated when first needed."""
        self.streaming = True

    def end_streaming(self) -> None:
        """Return the staging slots to the pool."""
        if not self._keeps:
            return
        self.streaming = False
        self._free += self._staging
        self._staging.clear()

    def admit(self, order: Order) -> bool:
        """Give the expert of an order a slot, LOADING; a demanded one is pinned for who waits for it."""
        streaming = self.streaming
        slot = self._staging_slot(order) if streaming else self._vacate(order)
        if slot is None:
            return False
        expert = order.expert
        self.slots.assign(slot, expert)
        self.loading[expert] = None
        if streaming:
            self._streamed.add(expert)
        else:
            self._residency.admitted(expert)
        if order.kind == DEMAND:
            self.slots.pins[slot] = self.slots.pins[slot] + 1
            if not streaming:
                self._residency.used(expert)
        else:
            self.unused.add(expert)
        return True

    def ready(self, expert: int) -> bool:
        """Whether a slotted expert may be read; notices an arrival that has come to pass."""
        return _has_come(expert, self.loading)

    def notice(self) -> None:
        """Notice arrivals that have come to pass, the oldest first, up to one that somebody waits for."""
        while self.loading:
            oldest = next(iter(self.loading))
            if self.slots.pins[self.slots.of[oldest]] or not self.ready(oldest):
                return

    def pin(self, expert: int) -> bool:
        """Keep a slotted expert for a reader, as the most recently used one; return whether it was prefetched and is
        read for the first time."""
        slots = self.slots
        slot = slots.of[expert]
        slots.pins[slot] = slots.pins[slot] + 1
        if not self.streaming:
            self._residency.used(expert)
        if self.held:
            self.held.discard(expert)
        if not self.unused or expert not in self.unused:
            return False
        self.unused.remove(expert)
        return True

    def borrow(self, experts: Iterable[int]) -> list[int]:
        """Pin those of the experts that are there, for a reader who does not need them; return them."""
        slots = self.slots
        here = [expert for expert in experts if slots.of[expert] >= 0 and self.ready(expert)]
        for expert in here:
            slots.pins[slots.of[expert]] += 1
        return here

    def unpin(self, expert: int) -> None:
        """End a reading; an expert that was streamed gives its slot back at once."""
        slot = self.slots.of[expert]
        self.slots.pins[slot] = self.slots.pins[slot] - 1
        if self._streamed and expert in self._streamed:
            self._streamed.remove(expert)
            self.slots.release(slot)
            self._staging.append(slot)

    def write_off(self) -> None:
        """Count prefetches that were never used as wasted; they stay, as residents."""
        self._ledger.wasted(len(self.unused))
        self.unused.clear()

    def describe(self) -> str:
        """What is on its way and how many slots are read, for who finds that nothing moves."""
        read = sum(pins > 0 for pins in self.slots.pins)
        phase = "streaming" if self.streaming else "decoding"
        return f"on their way: {list(self.loading) or 'none'}; {read} of {len(self.slots)} slots are read; {phase}"

    def _staging_slot(self, order: Order) -> int | None:
        if self._staging:
            return self._staging.pop()
        return self._vacate(order) if len(self._streamed) < STAGING_SLOTS else None

    def _vacate(self, order: Order) -> int | None:
        """Return a slot that is empty, or whose expert gives way to the order if the residency policy lets one go."""
        if self._free:
            return self._free.pop()
        victim = self._residency.victim(order, self._evictable, self.held)
        if victim is None:
            return None
        self._residency.evicted(victim)
        order.evicts = victim
        self.held.discard(victim)
        wasted = victim in self.unused
        if wasted:
            self.unused.remove(victim)
        self._ledger.evicted(wasted)
        return self.slots.of[victim]


class _Evictable(Evictable):
    """Whom nobody reads, and who has arrived."""

    def __init__(self, slots: SlotTable, loading: dict[int, Arrival | None]) -> None:
        self._slots, self._loading = slots, loading

    def __contains__(self, expert: int) -> bool:
        """Look, and notice an arrival that has come to pass."""
        return not self._slots.pins[self._slots.of[expert]] and _has_come(expert, self._loading)


def _has_come(expert: int, loading: dict[int, Arrival | None]) -> bool:
    """Whether a slotted expert may be read; one that has come leaves `loading`."""
    if expert not in loading:
        return True
    arrival = loading[expert]
    if arrival is None or not arrival.done():
        return False
    del loading[expert]
    return True
