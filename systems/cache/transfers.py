"""What is wanted, what is on its way, and what has arrived: the state that an expert cache guards with its lock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from systems.cache.clock import Clock
from systems.cache.in_place import Elsewhere
from systems.cache.ledger import Ledger
from systems.cache.occupancy import Occupancy
from systems.cache.queue import TransferQueue
from systems.cache.transport import Arrival, Due, Transport
from systems.policies.orders import DEMAND, PREFETCH, Hint, Order


class TransferDesk:
    """Takes orders and hands them to the link. Not thread-safe; its owner holds a lock.

    Args:
        experts: routed experts per layer.
        batch_io: records that one I/O call of prefetches may carry.
        waits: whether the computation waits for prefetches, so that one without a slot has to be withdrawn.
        write_back: whether evicted experts are copied back to slow memory, though nothing has changed them.
    """

    def __init__(
        self,
        occupancy: Occupancy,
        ledger: Ledger,
        clock: Clock,
        experts: int,
        batch_io: int,
        waits: bool,
        write_back: bool = False,
    ) -> None:
        self.queue = TransferQueue()
        self._occupancy, self._ledger, self._experts, self._batch_io = occupancy, ledger, experts, batch_io
        self._waits, self._clock, self._write_back = waits, clock, write_back
        self.named: set[int] = set()
        """Experts that the hints of this step name, read and evicted ones too."""
        self.hear: Callable[[Order, Arrival], None] | None = None
        """Hears of every transfer that has started."""

    def covered(self, base: int, needed: Collection[int]) -> int:
        """How many of these experts of a layer have been named by a hint of this step, or have a slot."""
        slots, named, count = self._occupancy.slots.of, self.named, 0
        for local in needed:
            expert = base + local
            if slots[expert] >= 0 or expert in named:
                count += 1
        return count

    def send_elsewhere(self, elsewhere: Elsewhere, layer: int, needed: dict[int, int], link_free: float) -> list[int]:
        """Choose which of a layer's experts are computed where they lie.

        Args:
            needed: experts of the layer, and how many rows each of them computes.
            link_free: when the link can carry a demand (s).
        """
        base, slots, loading = layer * self._experts, self._occupancy.slots.of, self._occupancy.loading
        absent, flying = dict[int, int](), dict[int, float]()
        for local, rows in needed.items():
            expert = base + local
            if slots[expert] < 0:
                absent[local] = rows
            elif expert in loading and not self._occupancy.ready(expert):
                arrival = loading[expert]
                if isinstance(arrival, Due):  # when others come is not known
                    absent[local], flying[local] = rows, arrival.at
        away = elsewhere.choose(needed, absent, flying, link_free)
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

    def news(self, layer: int, experts: Sequence[int]) -> bool:
        """Whether a hint says anything new: an expert that is not spared yet, or neither here nor ordered."""
        base, held, pending = layer * self._experts, self._occupancy.held, self.queue.pending
        slots = self._occupancy.slots.of
        for local in experts:
            expert = base + local
            if expert not in held or (slots[expert] < 0 and expert not in pending):
                return True
        return False

    def hint(self, layer: int, experts: Sequence[int], now: float) -> list[int]:
        """Hold what a layer will probably need, queue what of it has no slot; return those that were not queued."""
        occupancy, queue, base, missing = self._occupancy, self.queue, layer * self._experts, list[int]()
        for local in experts:
            expert = base + local
            occupancy.held.add(expert)
            self.named.add(expert)
            if occupancy.slots.of[expert] < 0 and expert not in queue.pending:
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
        self.named = set(held)
        missing, withdrawn = self.queue.replan(orders)
        self._ledger.cancelled(withdrawn)
        return missing

    def forget(self) -> None:
        """Withdraw all that is hinted, and hold nothing."""
        self.cancel(self.queue.prefetches())
        self._occupancy.held.clear()
        self.named.clear()

    def admit(self) -> list[Order]:
        """Give slots to what travels next, and return it; nothing where nobody gets one."""
        run = self.queue.take(self._batch_io, self._admit)
        if run:
            self._ledger.moved(len(run), run[0].kind == PREFETCH)
            if self._write_back:
                self._ledger.written_back(sum([order.evicts >= 0 for order in run]))
        return run

    def give_up(self) -> bool:
        """Where the computation waits for prefetches, withdraw those that no slot can be had for, since none can fall
        free before it goes on; return whether there were any."""
        if not self._waits or not (refused := self.queue.prefetches()):
            return False
        self.cancel(refused)
        return True

    def move(self, run: list[Order], transport: Transport, earliest: float = 0.0) -> list[Arrival]:
        """Hand a run that was admitted to a transport; what it evicts goes back first, where that is done at all. A
        demand overtakes what is left of what is on its way, on a link that yields.

        Args:
            earliest: when it can start, whenever it was asked for (s).
        """
        slots, experts, back, asked = list[int](), list[int](), list[int](), earliest
        for order in run:
            slots.append(self._occupancy.slots.of[order.expert])
            experts.append(order.expert)
            asked = max(asked, order.asked, order.refused)
            if self._write_back and order.evicts >= 0:
                back.append(slots[-1])
        if back:
            transport.put_back(back, asked)
        elif transport.yields and run[0].kind == DEMAND:
            return [transport.overtake(experts[0], slots[0], asked)]
        return transport.move(experts, slots, asked)

    def slot_of(self, order: Order) -> int:
        """The slot that an admitted order has."""
        return self._occupancy.slots.of[order.expert]

    def awaited(self, order: Order) -> bool:
        """Whether somebody waits for what an order that was admitted brings."""
        return self._occupancy.slots.pins[self.slot_of(order)] > 0

    def awaited_until(self) -> float:
        """When all that is on its way has come that somebody waits for, on a link of which that is known."""
        slots, until = self._occupancy.slots, 0.0
        for expert, arrival in self._occupancy.loading.items():
            if isinstance(arrival, Due) and slots.pins[slots.of[expert]]:
                until = max(until, arrival.at)
        return until

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

    def _admit(self, order: Order) -> bool:
        """Give an order a slot; one that is refused cannot start before it is asked for again."""
        if self._occupancy.admit(order):
            return True
        order.refused = self._clock.now()
        return False

    def describe(self) -> str:
        """What is queued, on its way and read, for who finds that nothing moves."""
        kinds = {DEMAND: "demand", PREFETCH: "prefetch"}
        orders = [f"{kinds[order.kind]} of {order.expert}" for order in self.queue.pending.values()]
        return f"queued: {', '.join(orders) or 'nothing'}; {self._occupancy.describe()}"
