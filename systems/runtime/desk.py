"""What is wanted, what is on its way, and what has arrived: the state that an expert cache guards with its lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from systems.policies.orders import DEMAND, PREFETCH, Hint, Order
from systems.runtime.elsewhere import Elsewhere
from systems.runtime.ledger import Ledger
from systems.runtime.occupancy import Occupancy
from systems.runtime.queue import TransferQueue
from systems.runtime.transport import Arrival, Transport


class TransferDesk:
    """Takes orders and hands them to the link. Not thread-safe; its owner holds a lock.

    Args:
        experts: routed experts per layer.
        batch_io: records that one I/O call of a prefetch may carry.
        waits: whether the computation waits for prefetches, so that one without a slot has to be withdrawn.
    """

    def __init__(self, occupancy: Occupancy, ledger: Ledger, experts: int, batch_io: int, waits: bool) -> None:
        self.queue = TransferQueue()
        self._occupancy, self._ledger, self._experts, self._batch_io = occupancy, ledger, experts, batch_io
        self._waits = waits
        self._held_up = False
        """Whether the next transfer had to wait for its slot: it cannot have started before it was given one."""
        self.hear: Callable[[Order, Arrival], None] | None = None
        """Hears of every transfer that has started."""

    def send_elsewhere(self, elsewhere: Elsewhere, layer: int, needed: dict[int, int]) -> list[int]:
        """Choose the missing experts that are computed where they lie; `needed` says how many rows each computes."""
        base, slots = layer * self._experts, self._occupancy.slots.of
        absent = {expert: rows for expert, rows in needed.items() if slots[base + expert] < 0}
        away = elsewhere.choose(absent)
        self._ledger.elsewhere(layer, len(away))
        return away

    def classify(self, layer: int, needed: dict[int, int], now: float) -> tuple[list[int], set[int]]:
        """Pin what is ready of a layer's experts, order what is not; count each need once. Return both as ids."""
        occupancy, queue, base = self._occupancy, self.queue, layer * self._experts
        slots, loading, pending = occupancy.slots.of, occupancy.loading, queue.pending
        present, absent = list[int](), set[int]()
        on_time = late = demand = overtaken = 0
        for local in needed:
            expert = base + local
            if slots[expert] < 0:
                # A prefetch that is still queued has not helped: it is upgraded and counts as a demand.
                demand += 1
                if expert in pending:
                    overtaken += 1
                queue.push(Order(DEMAND, layer, now, expert, layer))
                absent.add(expert)
                continue
            first_use = occupancy.pin(expert)
            if expert not in loading or occupancy.ready(expert):
                present.append(expert)
                on_time += first_use
            else:
                absent.add(expert)
                late += 1
        self._ledger.met(layer, len(present) - on_time, on_time, late, demand, overtaken)
        self.cancel(queue.prefetches(layer))
        return present, absent

    def hint(self, layer: int, experts: Iterable[int], now: float) -> list[int]:
        """Queue what a layer will probably need and has no slot, hold all; return those that were not queued before."""
        occupancy, queue, base, missing = self._occupancy, self.queue, layer * self._experts, list[int]()
        for local in experts:
            expert = base + local
            occupancy.held.add(expert)
            if occupancy.slots.of[expert] >= 0:
                continue
            if expert not in queue.pending:
                missing.append(expert)
            queue.push(Order(PREFETCH, layer, now, expert, layer))
        return missing

    def plan(self, fetch: Iterable[Hint], hold: Iterable[Hint], now: float) -> list[int]:
        """Queue what `fetch` names and has no slot, in place of all prefetches before; hold it and what `hold` names,
        and nothing else. Return those that were not queued before."""
        slots, held, orders = self._occupancy.slots.of, self._occupancy.held, dict[int, Order]()
        held.clear()
        for urgency, layer, local in fetch:
            expert = layer * self._experts + local
            held.add(expert)
            if slots[expert] < 0:
                orders[expert] = Order(PREFETCH, urgency, now, expert, layer)
        held.update(hint.layer * self._experts + hint.expert for hint in hold)
        missing, withdrawn = self.queue.replan(orders)
        self._ledger.cancelled(withdrawn)
        return missing

    def forget(self) -> None:
        """Withdraw all that is hinted, and hold nothing."""
        self.cancel(self.queue.prefetches())
        self._occupancy.held.clear()

    def admit(self) -> list[Order]:
        """Give slots to the most urgent run, or to as much of it as slots allow."""
        first = self.queue.peek()
        if first is None:
            return []
        ahead = first.kind == PREFETCH
        run = self.queue.neighbours(first, self._batch_io if ahead else 1)  # a demand waits for no other's bytes
        admitted = 0
        for order in run:
            if not self._occupancy.admit(order):
                break
            self.queue.cancel(order.expert)
            admitted += 1
        if admitted:
            self._ledger.moved(admitted, ahead)
        else:
            self._held_up = True
        return run if admitted == len(run) else run[:admitted]

    def give_up(self) -> bool:
        """Where the computation waits for prefetches, withdraw those that no slot can be had for, since none can fall
        free before it goes on; return whether there were any."""
        if not self._waits or not (refused := self.queue.prefetches()):
            return False
        self.cancel(refused)
        return True

    def move(self, run: list[Order], transport: Transport) -> list[Arrival]:
        """Hand a run that was admitted to a transport."""
        slots, asked = list[int](), run[0].asked
        for order in run:
            slots.append(self._occupancy.slots.of[order.expert])
            asked = min(asked, order.asked)
        if self._held_up:
            asked, self._held_up = transport.clock.now(), False
        return transport.move(run[0].expert, slots, asked)

    def note(self, run: list[Order], arrivals: list[Arrival]) -> None:
        """A run has started; its experts arrive then."""
        for place, order in enumerate(run):
            self._occupancy.loading[order.expert] = arrivals[place]
            if self.hear is not None:
                self.hear(order, arrivals[place])

    def first_known(self, experts: set[int]) -> tuple[int, Arrival] | None:
        """Return the first of the experts on their way whose arrival is known."""
        loading = self._occupancy.loading
        if len(loading) > len(experts):  # prefetches that have arrived need not be looked through again and again
            self._occupancy.notice()
        for expert, arrival in loading.items():
            if expert in experts and arrival is not None:
                return expert, arrival
        return None

    def unknown(self, expert: int) -> bool:
        """Whether an expert is queued, or on its way with no known arrival."""
        return expert in self.queue.pending or self._occupancy.loading.get(expert, self) is None

    def cancel(self, experts: Sequence[int]) -> None:
        """Withdraw prefetches that have not started."""
        if experts:
            for expert in experts:
                self.queue.cancel(expert)
            self._ledger.cancelled(len(experts))

    def describe(self) -> str:
        """What is queued, on its way and read, for who finds that nothing moves."""
        kinds = {DEMAND: "demand", PREFETCH: "prefetch"}
        orders = [f"{kinds[order.kind]} of {order.expert}" for order in self.queue.pending.values()]
        return f"queued: {', '.join(orders) or 'nothing'}; {self._occupancy.describe()}"
