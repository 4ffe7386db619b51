"""What is wanted, what is on its way, and what has arrived: the state that an expert cache guards with its lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from systems.policies.orders import DEMAND, PREFETCH, Hint, Order
from systems.runtime.elsewhere import Elsewhere
from systems.runtime.ledger import Ledger
from systems.runtime.occupancy import Occupancy
from systems.runtime.queue import TransferQueue
from systems.runtime.transport import Arrival


class TransferDesk:
    """Takes orders and hands them to the link. Not thread-safe; its owner holds a lock.

    Args:
        experts: routed experts per layer.
        batch_io: records that one I/O call of a prefetch may carry.
    """

    def __init__(self, occupancy: Occupancy, ledger: Ledger, experts: int, batch_io: int) -> None:
        self.queue = TransferQueue()
        self._occupancy, self._ledger, self._experts, self._batch_io = occupancy, ledger, experts, batch_io

    def id(self, hint: Hint) -> int:
        """Expert id of a hint."""
        return hint.layer * self._experts + hint.expert

    def send_elsewhere(
        self, elsewhere: Elsewhere, layer: int, needed: Sequence[int], parts: Mapping[int, slice]
    ) -> list[int]:
        """Choose the missing experts that are computed where they lie."""
        base, slots = layer * self._experts, self._occupancy.slots.of
        absent = {e: parts[e].stop - parts[e].start for e in needed if base + e not in slots}
        away = elsewhere.choose(absent)
        self._ledger.elsewhere(layer, len(away))
        return away

    def classify(self, layer: int, needed: list[int], now: float) -> tuple[list[int], set[int]]:
        """Pin what is ready, order what is not; count each need once. Return both as expert ids."""
        present, absent = list[int](), set[int]()
        for expert in needed:
            if expert not in self._occupancy.slots.of:
                self._demand(layer, expert, now)
                absent.add(expert)
                continue
            self._occupancy.pin(expert)
            first_use = expert in self._occupancy.unused
            self._occupancy.unused.discard(expert)
            if not self._occupancy.ready(expert):
                self._ledger.late(layer)
                absent.add(expert)
                continue
            present.append(expert)
            self._ledger.on_time(layer) if first_use else self._ledger.resident(layer)
        self.cancel(self.queue.prefetches(layer))
        return present, absent

    def hint(self, hints: Sequence[Hint], now: float) -> list[int]:
        """Queue the hinted experts that have no slot, hold all; return those that were not queued before."""
        missing = list[int]()
        for hint in hints:
            expert = self.id(hint)
            self._occupancy.held.add(expert)
            if expert in self._occupancy.slots.of:
                continue
            if expert not in self.queue:
                missing.append(expert)
            self.queue.push(Order(PREFETCH, hint.urgency, now, expert, hint.layer))
        return missing

    def forget(self, fetch: Iterable[Hint] = (), hold: Iterable[Hint] = ()) -> None:
        """Withdraw what is hinted and not in `fetch`; hold nothing but `hold`."""
        named = {self.id(hint) for hint in fetch}
        self.cancel([expert for expert in self.queue.prefetches() if expert not in named])
        self._occupancy.held.clear()
        self._occupancy.held.update(self.id(hint) for hint in hold)

    def admit(self) -> list[Order]:
        """Give slots to the most urgent run, or to as much of it as slots allow."""
        admitted = list[Order]()
        for order in self.queue.run(self._batch_io):
            if not self._occupancy.admit(order):
                break
            self.queue.cancel(order.expert)
            admitted.append(order)
        if admitted:
            ahead = len(admitted) if admitted[0].kind == PREFETCH else 0
            self._ledger.moved(len(admitted), ahead)
        return admitted

    def note(self, run: Sequence[Order], arrivals: Sequence[Arrival]) -> None:
        """A run has started; its experts arrive then."""
        for order, arrival in zip(run, arrivals, strict=True):
            self._occupancy.loading[order.expert] = arrival

    def first_known(self, experts: set[int]) -> tuple[int, Arrival] | None:
        """Return the first of the experts on their way whose arrival is known."""
        for expert, arrival in self._occupancy.loading.items():
            if expert in experts and arrival is not None:
                return expert, arrival
        return None

    def unknown(self, expert: int) -> bool:
        """Whether an expert is queued, or on its way with no known arrival."""
        return expert in self.queue or self._occupancy.loading.get(expert, self) is None

    def cancel(self, experts: Sequence[int]) -> None:
        """Withdraw prefetches that have not started."""
        for expert in experts:
            self.queue.cancel(expert)
        self._ledger.cancelled(len(experts))

    def _demand(self, layer: int, expert: int, now: float) -> None:
        """Order a transfer at once; a prefetch that is still queued is upgraded and counts as late."""
        if expert in self.queue:
            self._ledger.late(layer)
        else:
            self._ledger.demand(layer)
        self.queue.push(Order(DEMAND, layer, now, expert, layer))
