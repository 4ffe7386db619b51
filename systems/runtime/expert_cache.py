"""Experts in fast memory as the computation sees them: needs and prefetches, served by one link.

Two threads meet here under one lock: the one that computes calls `visit` and `prefetch`, the link's worker
`next_run` and `publish`. Whoever changes state notifies under the same lock, so that no wake-up is lost.

On a virtual clock there is no worker: whoever calls first lets the link do what it would have done until then, and
whoever waits moves the clock on. The same calls at the same times then give the same counts, always.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

from systems.api import Meter, NullMeter, Phase, Traffic, WorkerDied
from systems.policies.orders import Hint, Order
from systems.runtime.desk import TransferDesk
from systems.runtime.elsewhere import Elsewhere
from systems.runtime.ledger import Ledger
from systems.runtime.occupancy import Occupancy
from systems.runtime.transport import Arrival, Due, Transport


class ExpertCache:
    """The experts of one system.

    Args:
        experts: routed experts per layer.
        batch_io: records that one I/O call of a prefetch may carry.
        worker: whether prefetches run beside the computation; if not, `prefetch` blocks until they are in.
        elsewhere: where missing experts may be computed instead of fetched; None: nowhere.
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
    ) -> None:
        self.slots, self.experts = occupancy.slots, experts
        self._elsewhere = elsewhere
        self.meter: Meter = NullMeter([])
        self._occupancy, self._transport, self._ledger = occupancy, transport, ledger
        self._worker = worker
        self._desk = TransferDesk(occupancy, ledger, experts, batch_io)
        self._queue = self._desk.queue
        self.clock, self._inline = transport.clock, transport.clock.virtual
        self._idle = False
        self._closed = False
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._arrived = threading.Condition(self._lock)

    # --- called by the computing thread ---------------------------------------------------------------

    def visit(
        self, layer: int, needed: Sequence[int], parts: Mapping[int, slice] | None = None
    ) -> Iterator[tuple[int, int]]:
        """Order what a layer needs at once; return `(expert, place)` pairs in the order in which they are there.

        Resident experts come first, while the missing ones travel. A place is an index into the matrices of
        `slots`, valid until the next item is asked for (resident ones until the last of them). There may be
        more experts than slots.

        Args:
            parts: rows that each expert will compute; decides which are computed where they lie.
        """
        base = layer * self.experts
        with self._lock:
            self._catch_up()
            self._occupancy.needed([base + expert for expert in needed])
            self._check()
            self._ledger.needed(layer, len(needed))
            away: list[int] = []
            if self._elsewhere is not None and parts is not None:
                away = self._desk.send_elsewhere(self._elsewhere, layer, needed, parts)
            ids = [base + expert for expert in needed if expert not in away]
            present, absent = self._desk.classify(layer, ids, self.clock.now())
            self._wake()
        return self._arriving(base, present, away, absent)

    def prefetch(self, layer: int, experts: Iterable[int]) -> int:
        """Order experts that `layer` will probably need; those already here are held until the step ends.

        Returns:
            How many of them were neither here nor ordered before.
        """
        return self._order([Hint(layer, layer, expert) for expert in experts])

    def plan(self, fetch: Sequence[Hint], hold: Sequence[Hint] = ()) -> int:
        """Order what `fetch` names, in place of all hints before, and hold it and what `hold` names.

        Returns:
            How many experts were neither here nor ordered before.
        """
        with self._lock:
            self._catch_up()
            self._desk.forget(fetch, hold)
        return self._order(fetch)

    def absent(self, experts: Iterable[int]) -> list[int]:
        """Those of the expert ids that have no slot."""
        with self._lock:
            return [expert for expert in experts if expert not in self.slots.of]

    def end_step(self) -> None:
        """Forget the hints of the verification that has ended."""
        with self._lock:
            self._catch_up()
            self._desk.forget()

    def end_generation(self) -> None:
        """Let transfers land and write off prefetches that were never used."""
        self.end_step()
        self._settle(list(self._occupancy.loading))
        with self._lock:
            self._occupancy.write_off()

    def enter(self, phase: Phase) -> None:
        """Serve a prompt (streamed past the residents, which it would flush) or decoding from now on."""
        with self._lock:
            self._ledger.enter(phase)
            if phase == "prefill":
                self._occupancy.begin_streaming()
            else:
                self._occupancy.end_streaming()

    def take_traffic(self) -> Traffic:
        """Return the counts since the last call."""
        with self._lock:
            return self._ledger.take(self._transport.busy_seconds())

    def install(self, experts: Sequence[int]) -> None:
        """Load these expert ids in place of all others, uncounted: how a system starts that has chosen them."""
        with self._lock:
            pairs = self._occupancy.install(experts)
        for expert, slot in pairs:
            for arrival in self._transport.move(expert, [slot], 0.0):
                arrival.wait()

    def close(self) -> None:
        """Let the worker end."""
        with self._lock:
            self._closed = True
            self._work.notify_all()

    # --- called by the worker -------------------------------------------------------------------------

    def next_run(self) -> list[Order] | None:
        """Wait for the next transfer and return the orders that share its call; None at the end.

        What crosses the link next is decided when the link is free, not before: a demand overtakes all
        prefetches that have not started.
        """
        with self._lock:
            while not self._closed:
                if not len(self._queue):
                    self._sleep()
                elif (delay := self._transport.next_start() - self.clock.now()) > 0:
                    self._work.wait(delay)
                elif admitted := self._desk.admit():
                    return admitted
                elif self._give_up():
                    self._arrived.notify_all()
                else:
                    self._sleep()
            return None

    def publish(self, run: Sequence[Order], arrivals: Sequence[Arrival]) -> None:
        """Announce when the experts of a run will have arrived."""
        with self._lock:
            self._desk.note(run, arrivals)
            self._arrived.notify_all()

    def fail(self, error: BaseException) -> None:
        """Make every present and future wait raise: a dead worker must not hang the run."""
        with self._lock:
            self._failure = error
            self._arrived.notify_all()

    # --- under the lock -------------------------------------------------------------------------------

    def _order(self, hints: Sequence[Hint]) -> int:
        """Queue the hinted experts that are neither here nor queued; hold them all."""
        with self._lock:
            self.clock.hinted()
            self._catch_up()
            self._check()
            missing = self._desk.hint(hints, self.clock.now())
            self._wake()
        if missing and not self._worker:
            with self.meter.span("transfer"):
                self._settle(missing)
        return len(missing)

    def _give_up(self) -> bool:
        """Without a worker, withdraw prefetches that no slot can be had for: drafting waits for them, and no slot
        can fall free before it goes on."""
        if self._worker or not (refused := self._queue.prefetches()):
            return False
        self._desk.cancel(refused)
        return True

    def _catch_up(self) -> None:
        """On a virtual clock, let the link start what it would have started until now."""
        while self._inline and len(self._queue) and self._transport.next_start() <= self.clock.now():
            if not self._carry():
                return

    def _carry(self) -> bool:
        """Start the next transfer in place of a worker; False where no slot can be had."""
        run = self._desk.admit()
        if not run:
            return self._give_up()
        slots = [self.slots.of[order.expert] for order in run]
        self.clock.carried(len(run))
        self._desk.note(run, self._transport.move(run[0].expert, slots, min(order.asked for order in run)))
        return True

    def _wait(self) -> None:
        """Wait for the link; on a virtual clock, move on to what it does next."""
        if not self._inline:
            self._arrived.wait()
            return
        self.clock.wait(self._transport.next_start())
        if not self._carry():
            arrivals = [arrival.at for arrival in self._occupancy.loading.values() if isinstance(arrival, Due)]
            later = [at for at in arrivals if at > self.clock.now()]
            if not later:
                raise RuntimeError("nothing can move: every slot is being read")
            self.clock.wait(min(later))

    def _sleep(self) -> None:
        """Let the worker sleep until there is an order or a slot for it."""
        self._idle = True
        self._work.wait()
        self._idle = False

    def _wake(self) -> None:
        """Wake the worker if there is something for it and it does not wait for the link.

        A wake-up takes the interpreter lock from the computation, as long as several of its operators need;
        a worker that waits for the link looks at the queue anyway when the link is free.
        """
        if self._inline:
            self._catch_up()
        elif self._idle and len(self._queue):
            self._work.notify()

    def _check(self) -> None:
        if self._failure is not None:
            raise WorkerDied(f"the transfer worker died: {self._failure!r}") from self._failure

    # --- waiting --------------------------------------------------------------------------------------

    def _arriving(
        self, base: int, present: list[int], away: Sequence[int], absent: set[int]
    ) -> Iterator[tuple[int, int]]:
        """Yield what is there, then what is computed elsewhere, then what arrives."""
        if present:
            for expert in present:
                yield expert - base, self.slots.of[expert]
            self._unpin(present)
        if self._elsewhere is not None:
            yield from self._elsewhere.visit(base, away)
        while absent:
            with self.meter.span("transfer"):
                expert = self._await_any(absent)
            absent.discard(expert)
            yield expert - base, self.slots.of[expert]
            self._unpin([expert])

    def _await_any(self, experts: set[int]) -> int:
        """Block until one of the experts may be read; return it. The link is serial: first ordered, first in."""
        with self._lock:
            while (found := self._desk.first_known(experts)) is None:
                self._check()
                self._wait()
        expert, arrival = found
        arrival.wait()
        with self._lock:  # it is pinned, so nobody else has noticed its arrival
            del self._occupancy.loading[expert]
        return expert

    def _settle(self, experts: Sequence[int]) -> None:
        """Block until none of the experts is queued or on its way."""
        for expert in experts:
            with self._lock:
                while self._desk.unknown(expert):
                    self._check()
                    self._wait()
                arrival = self._occupancy.loading.get(expert)
            if arrival is not None:
                arrival.wait()
                with self._lock:
                    self._occupancy.ready(expert)

    def _unpin(self, experts: Sequence[int]) -> None:
        with self._lock:
            self._transport.released([self.slots.of[expert] for expert in experts])
            for expert in experts:
                self._occupancy.unpin(expert)
            self._wake()
