"""Experts in fast memory as the computation sees them: needs and prefetches, served by one link."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from systems.cache.arrivals import Visit
from systems.cache.device_link import DeviceLink
from systems.cache.in_place import Elsewhere
from systems.cache.ledger import Ledger
from systems.cache.link import InLineLink, Link, PolledLink, ThreadedLink
from systems.cache.occupancy import Occupancy
from systems.cache.part import InLinePart
from systems.cache.transfers import TransferDesk
from systems.cache.transport import Arrival, Transport
from systems.contract.meter import Meter, NullMeter, NullSpan
from systems.contract.traffic import Phase, Traffic, Transfer
from systems.policies.hinting import LinkedCache
from systems.policies.orders import PREFETCH, Hint, Order


class ExpertCache(LinkedCache):
    """The experts of one system. One thread computes and calls; a link that really moves records works beside it, under
    the same lock, and an emulated one is served by these calls.

    Args:
        experts: routed experts per layer.
        batch_io: records that one I/O call of a prefetch may carry.
        worker: whether prefetches run beside the computation; if not, `prefetch` blocks until they are in.
        elsewhere: where missing experts may be computed instead of fetched; None: nowhere.
        in_line: how copies take turns with the computation; None: they travel beside it.
        transfer: seconds that one expert is expected to take over the link.
    """

    def __init__(
        self,
        occupancy: Occupancy,
        transport: Transport,
        ledger: Ledger,
        experts: int,
        batch_io: int = 1,
        worker: bool = True,
        elsewhere: Elsewhere | None = None,
        in_line: InLinePart | None = None,
        transfer: float = 0.0,
    ) -> None:
        self.slots, self.experts, self.clock = occupancy.slots, experts, transport.clock
        self.meter: Meter = NullMeter([])
        self.width = 1
        """Tokens of every row that the next forwards verify together; 1 where nothing is drafted."""
        self._occupancy, self._transport, self._ledger = occupancy, transport, ledger
        self._elsewhere, self._worker, self._transfer = elsewhere, worker, transfer
        write_back = in_line is not None and in_line.write_back
        self._desk = TransferDesk(occupancy, ledger, self.clock, experts, batch_io, not worker, write_back)
        self._link = self._make_link(in_line is not None)
        self._guard = self._link.guard
        self._pending = self._desk.queue.pending
        self._hear: Callable[[Transfer], None] | None = None
        self._untold: list[tuple[Order, Arrival]] = []
        """Transfers to be told of once they have come: only a device knows their times, or others may overtake them."""
        self._waits: deque[tuple[Any, Arrival]] = deque()
        """Arrivals that a device waits for, each with the end of what was submitted before."""

    def _make_link(self, in_line: bool) -> Link:
        if in_line:
            return InLineLink(self._desk, self._transport)
        if self.clock.skips:
            return PolledLink(self._desk, self._transport, self._occupancy.loading)
        if self._transport.asynchronous:
            return DeviceLink(self._desk, self._transport)
        return ThreadedLink(self._desk, self._transport)

    @property
    def asynchronous(self) -> bool:
        """Whether a device computes, which is given its work ahead."""
        return self._transport.asynchronous

    def visit(self, layer: int, needed: dict[int, int], drafted: Collection[int] | None = None) -> Visit:
        """Order what a layer needs at once; return what hands it out. There may be more experts than slots.

        Args:
            needed: experts of the layer, and how many rows each of them will compute.
            drafted: those that tokens need which a draft has read; None: all. See `systems.policies.listening.drafted`.
        """
        base, apart = layer * self.experts, list[int]()
        drafted = needed if drafted is None else drafted
        with self._guard:
            self._link.check()
            if self._pending:
                self._link.wake()
            if self._occupancy.counts_needs:
                self._occupancy.needed({base + expert: rows for expert, rows in needed.items()})
            self._ledger.needed(layer, len(needed), len(drafted), self._desk.covered(base, drafted))
            if self._elsewhere is not None:
                opens = self._transport.opening(self.clock.now())
                away = self._desk.send_elsewhere(self._elsewhere, layer, needed, opens)
                needed = {expert: rows for expert, rows in needed.items() if expert not in away}
                apart = [base + expert for expert in away]
            present, absent = self._desk.classify(layer, needed, self.clock.now())
            if absent:
                self._link.wake()
        return Visit(self, base, present, apart, absent, self._elsewhere)

    def place(self, expert: int) -> int:
        """Where an expert is read that a layer has been given.

        Raises:
            RuntimeError: it has no slot, or is still on its way: a layer would compute from what is not there.
        """
        if self.slots.of[expert] < 0 or expert in self._occupancy.loading:
            raise RuntimeError(f"expert {expert} is read before it is there; {self._desk.describe()}")
        return self.slots.place_of(expert)

    def prefetch(self, layer: int, experts: Sequence[int]) -> int:
        """Order experts that `layer` will probably need; those already here are held until the step ends.

        While experts are streamed nothing is ordered ahead: only a reader vacates a staging slot, so that a prefetch
        that nobody reads would keep it from those who wait.

        Returns:
            How many of them were neither here nor ordered before.
        """
        if not self._worker:
            return self._ordered(self._order(layer, experts))
        self.clock.stop()  # what is done about a hint is the worker's business, who runs beside the computation
        try:
            return len(self._order(layer, experts))
        finally:
            self.clock.go()

    def _order(self, layer: int, experts: Sequence[int]) -> list[int]:
        """Order what a hint names that is neither here nor ordered before, and return it."""
        with self._guard:
            self._link.check()
            if self._occupancy.streaming or not self._desk.news(layer, experts):
                return []
            if self._pending:
                self._link.wake()
            missing = self._desk.hint(layer, experts, self.clock.now())
            if missing:
                self._link.wake()
        return missing

    def plan(self, fetch: Sequence[Hint], hold: Sequence[Hint] = ()) -> int:
        """Order what `fetch` names, in place of all hints before, and hold it and what `hold` names; see `prefetch`.

        Returns:
            How many experts were neither here nor ordered before.
        """
        if not self._worker:
            return self._ordered(self._replace(fetch, hold))
        with self.clock.stopped():  # the worker's business, as in `prefetch`
            return len(self._replace(fetch, hold))

    def _replace(self, fetch: Sequence[Hint], hold: Sequence[Hint]) -> list[int]:
        """Make the orders of a plan, and return those that were neither here nor ordered before."""
        with self._guard:
            self._link.check()
            self._link.wake()
            missing = self._desk.plan(() if self._occupancy.streaming else fetch, hold, self.clock.now())
            self._link.wake()
        return missing

    def absent(self, experts: Iterable[int]) -> list[int]:
        """Those of the expert ids that have no slot."""
        with self._guard:
            return [expert for expert in experts if self.slots.of[expert] < 0]

    def backlog(self) -> float:
        """Seconds until the link has carried all that is ordered, each order as long as the costs say."""
        with self._guard:
            if self._pending:
                self._link.wake()
            return max(self._transport.free_at - self.clock.now(), 0.0) + len(self._pending) * self._transfer

    def now(self) -> float:
        """The time (s)."""
        return self.clock.now()

    def aside(self) -> AbstractContextManager[None]:
        """Decide while the clock stands still."""
        return self.clock.stopped()

    def lend(self, layer: int) -> list[int]:
        """Return the ids of the layer's experts that may be read now, and keep them until they are unpinned. Who only
        borrows leaves no trace in counts, nor in the order of use."""
        with self._guard:
            if self._pending:
                self._link.wake()
            return self._occupancy.borrow(range(layer * self.experts, (layer + 1) * self.experts))

    def idle(self) -> bool:
        """Whether nothing is on its way, nor ordered."""
        with self._guard:
            if self._pending or self._transport.free_at > self.clock.now():
                return False
            return all(arrival is not None for arrival in self._occupancy.loading.values())

    def end_step(self) -> None:
        """Forget the hints of the verification that has ended."""
        with self._guard:
            self._link.wake()
            self._desk.forget()

    def end_generation(self) -> None:
        """Let transfers land and write off prefetches that were never used."""
        self.end_step()
        self._settle(list(self._occupancy.loading))
        with self._guard:
            self._occupancy.write_off()

    def enter(self, phase: Phase) -> None:
        """Serve a prompt (streamed past the residents, which it would flush) or decoding from now on."""
        with self._guard:
            self._ledger.enter(phase)
            self.width = 1
            if phase == "prefill":
                self._occupancy.begin_streaming()
            else:
                self._occupancy.end_streaming()

    @property
    def streaming(self) -> bool:
        """Whether a prompt is being served."""
        return self._occupancy.streaming

    def take_traffic(self) -> Traffic:
        """Return the counts since the last call."""
        with self._guard:
            while self._untold and self._untold[0][1].done():
                self._tell(*self._untold.pop(0))
            return self._ledger.take(self._transport.busy_seconds())

    def install(self, experts: Sequence[int]) -> None:
        """Load these expert ids in place of all others, uncounted: how a system starts that has chosen them."""
        with self._guard:
            pairs = self._occupancy.install(experts)
        for expert, slot in pairs:
            self._transport.put(expert, slot)

    @property
    def open_slots(self) -> int:
        """Slots in use."""
        return self._occupancy.count

    def resize(self, count: int) -> None:
        """Use so many of the slots from now on, between two generations."""
        with self._guard:
            self._occupancy.resize(count)

    def watch(self, hear: Callable[[Transfer], None]) -> None:
        """Tell `hear` of every transfer from now on, as soon as it is known when it arrives; any thread may call it.

        What only a device knows, and what may yet be overtaken, is told with the traffic, once it has arrived.
        """
        self._hear = hear
        self._transport.set_base()
        later = self._transport.asynchronous or self._transport.yields
        self._desk.hear = (lambda *transfer: self._untold.append(transfer)) if later else self._tell

    def _tell(self, order: Order, arrival: Arrival) -> None:
        assert self._hear is not None
        layer, expert = divmod(order.expert, self.experts)
        self._hear(Transfer(layer, expert, order.kind == PREFETCH, *arrival.times()))

    def close(self) -> None:
        """End the link, let copies land, and free the slots at once, whoever still refers to them. Idempotent."""
        self._link.close()
        self._transport.close()
        self.slots.close()

    def _ordered(self, missing: Sequence[int]) -> int:
        """Wait for prefetches if no worker carries them beside the computation."""
        if missing and not self._worker:
            if self._transport.asynchronous:
                idle = self._transport.submitted()
                if (last := self._settle(missing)) is not None:
                    self._waits.append((idle, last))
            else:
                with self.meter.span("transfer"):
                    self._settle(missing)
        return len(missing)

    def await_any(self, experts: set[int]) -> int:
        """Block until one of the experts, pinned and on their way, may be read; return it. Of those that somebody waits
        for, first ordered is first in. Where a device computes, what is submitted from now on waits for it, and the
        host does not.
        """
        if self._transport.asynchronous:
            idle = self._transport.submitted()
            expert, arrival = self._next_of(experts)
            arrival.precede()
            self._waits.append((idle, arrival))
            return expert
        span = self.meter.span("transfer")
        if isinstance(span, NullSpan):  # as in most replays, where entering it would take as long as all else here
            return self._first_of(experts)
        with span:
            return self._first_of(experts)

    def tell_waits(self) -> None:
        """Tell the meter how long a device has waited for experts, as far as it knows: to be called in the span in
        which it did, when the host has waited for the device."""
        while self._waits:
            idle, arrival = self._waits[0]
            if (waited := arrival.after(idle)) is None:
                return
            self.meter.attribute("transfer", waited)
            self._waits.popleft()

    def unpin(self, experts: list[int]) -> None:
        """Say that these expert ids have been read."""
        with self._guard:
            if self._pending:
                self._link.wake()  # what it did until now, it did while these were read
            if self._transport.asynchronous:
                self._transport.released([self.slots.of[expert] for expert in experts])
            for expert in experts:
                self._occupancy.unpin(expert)
            if self._pending:
                self._link.wake()

    def computed_from(self, experts: Sequence[int]) -> None:
        """Something has been submitted that reads these expert ids, which were there; nobody had asked for them."""
        with self._guard:
            if self._transport.asynchronous:
                self._transport.released([self.slots.of[expert] for expert in experts])

    def _first_of(self, experts: set[int]) -> int:
        expert, arrival = self._next_of(experts)
        arrival.wait()
        return expert

    def _next_of(self, experts: set[int]) -> tuple[int, Arrival]:
        """Block until it is known when one of the experts arrives; the others are asked for later."""
        with self._guard:
            while (known := self._desk.first_known(experts)) is None:
                self._link.wait()
            del self._occupancy.loading[known[0]]  # it is pinned: nobody else asks whether it has come
        return known

    def _settle(self, experts: Sequence[int]) -> Arrival | None:
        """Block until none of the experts is queued or on its way; return the arrival that was waited for last."""
        last = None
        for expert in experts:
            with self._guard:
                while self._desk.unknown(expert):
                    self._link.wait()
                arrival = self._occupancy.loading.get(expert)
            if arrival is not None:
                arrival.wait()
                last = arrival
                with self._guard:
                    self._occupancy.ready(expert)
        return last
