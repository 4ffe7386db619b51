"""What keeps the link busy: a thread beside the computation, whoever calls (on an emulated link), or who waits for it.
A device's has a module of its own, `device_link`.

All serve the orders of one desk. On an emulated link no thread runs: it does, whenever it is looked at, what it would
have done until then, and whoever waits moves the clock on. The same calls at the same times give the same counts.
"""

from __future__ import annotations

import threading

from systems.cache.transfers import TransferDesk
from systems.cache.transport import Arrival, Due, Transport
from systems.contract.errors import WorkerDied
from systems.policies.orders import Order

PATIENCE = 30.0
"""Seconds without any transfer after which a wait for one is given up: far more than a record takes on any link."""


class Stuck(Exception):
    """A wait that cannot end; the message holds the state."""


class Guard:
    """A context for one thread at a time; a polled link needs no lock."""

    def __init__(self, lock: threading.Lock | None) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if self._lock is not None:
            self._lock.acquire()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._lock is not None:
            self._lock.release()


class Link:
    """Carries orders. Its methods, but for `close`, are called by the computing thread, inside the guard."""

    def __init__(self, desk: TransferDesk, transport: Transport, lock: threading.Lock | None) -> None:
        self.guard = Guard(lock)
        self._desk, self._transport, self._pending = desk, transport, desk.queue.pending

    def wake(self) -> None:
        """Look for something to carry: there may be an order, a slot for one, or time may have passed."""
        raise NotImplementedError

    def wait(self) -> None:
        """Block until something has moved.

        Raises:
            WorkerDied: the thread failed; its error is the cause.
            Stuck: nothing can move, or nothing does.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Raise `WorkerDied` if nothing will be carried any more."""

    def close(self) -> None:
        """End; idempotent."""


class PolledLink(Link):
    """Served by whoever looks at it, on a clock that waits move on.

    Every change of what is wanted, held or read is preceded by `wake`, so that what the link would have done until then
    is decided by what was known until then.
    """

    def __init__(self, desk: TransferDesk, transport: Transport, loading: dict[int, Arrival | None]) -> None:
        super().__init__(desk, transport, None)
        self._clock, self._loading = transport.clock, loading

    def wake(self) -> None:
        """Start what the link would have started until now. Choosing it is the work of a thread beside the computation
        on the machine that is emulated, and takes none of the clock's time."""
        if not self._pending or not self._starts():
            return
        self._clock.stop()
        while self._pending and self._starts():
            if not self._carry():
                break
        self._clock.go()

    def wait(self) -> None:
        """Move on to what the link does next, or to the next arrival where no slot can be had before."""
        self._clock.wait(self._turn())
        self._clock.stop()
        carried = self._carry()
        self._clock.go()
        if carried:
            return
        now = self._clock.now()
        later = [arrival.at for arrival in self._loading.values() if isinstance(arrival, Due) and arrival.at > now]
        if not later:
            raise Stuck(f"nothing can move: {self._desk.describe()}")
        self._clock.wait(min(later))

    def _starts(self) -> bool:
        """Whether it is time to start what comes next. What may overtake is started as it is asked for, whenever its
        turn comes: a device is given all of it at once."""
        return self._overtaking() is not None or self._transport.ready_at <= self._clock.now()

    def _overtaking(self) -> Order | None:
        """The demand that travels next and may overtake what is on its way; None: there is none."""
        return self._desk.queue.demanded if self._transport.yields else None

    def _turn(self) -> float:
        """When the next transfer can start. A demand does not overtake what somebody waits for."""
        demand = self._overtaking()
        if demand is None:
            return self._transport.ready_at
        return max(self._transport.opening(max(demand.asked, demand.refused)), self._desk.awaited_until())

    def _carry(self) -> bool:
        """Start the next transfer; False where no slot can be had."""
        turn = self._turn()
        run = self._desk.admit()
        if not run:
            return self._desk.give_up()
        self._desk.note(run, self._desk.move(run, self._transport, turn))
        return True


class InLineLink(Link):
    """Carries while the computation waits, and only then, one expert at a time: copies on the stream that computes."""

    def __init__(self, desk: TransferDesk, transport: Transport) -> None:
        super().__init__(desk, transport, None)

    def wake(self) -> None:
        """Nothing is carried beside the computation."""

    def wait(self) -> None:
        """Carry the next order; it starts now, whenever it was asked for."""
        run = self._desk.admit()
        if not run:
            raise Stuck(f"nothing can move: {self._desk.describe()}")
        self._desk.note(run, self._desk.move(run, self._transport, self._transport.clock.now()))


class WorkedLink(Link):
    """A link with a thread, which works until closed. Whoever changes state notifies under the same lock, so that no
    wake-up is lost."""

    def __init__(self, desk: TransferDesk, transport: Transport) -> None:
        self._lock = threading.Lock()
        super().__init__(desk, transport, self._lock)
        self._work = threading.Condition(self._lock)
        self._moved = threading.Condition(self._lock)
        self._idle = self._closed = False
        self._failure: BaseException | None = None
        # Not `_thread`: compiled to C that would be a keyword.
        self._server = threading.Thread(target=self._serve, name="expert-link", daemon=True)
        self._server.start()

    def check(self) -> None:
        """Raise if the thread has ended."""
        if self._failure is not None:
            raise WorkerDied(f"the transfer worker died: {self._failure!r}") from self._failure
        if self._closed:
            raise WorkerDied("the transfer worker has ended: the system is closed")

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
        self._server.join()

    def _serve(self) -> None:
        """Work until closed, in the thread."""
        raise NotImplementedError


class ThreadedLink(WorkedLink):
    """A thread that carries one I/O call at a time, until closed.

    It only blocks in calls that release the interpreter lock (waits and copies); a polling one would slow the
    computation on the other core several times over.
    """

    def wake(self) -> None:
        """Wake the thread if there is something for it and it does not wait for the link.

        A wake-up takes the interpreter lock from the computation, as long as several of its operators need;
        a thread that waits for the link looks at the queue anyway when the link is free.
        """
        if self._idle and self._pending:
            self._idle = False
            self._work.notify()

    def wait(self) -> None:
        """Block until a transfer has started or was withdrawn.

        The only readers of slots belong to the thread that waits here: where orders are left and the link sleeps,
        since it can have no slot, none will fall free.
        """
        self.check()
        if self._idle and self._pending:
            raise Stuck(f"nothing can move: {self._desk.describe()}")
        if not self._moved.wait(PATIENCE):
            raise Stuck(f"nothing has moved for {PATIENCE:.0f} s: {self._desk.describe()}")

    def _serve(self) -> None:
        try:
            while (run := self._next_run()) is not None:
                arrivals = self._desk.move(run, self._transport)
                with self._lock:
                    self._desk.note(run, arrivals)
                    self._moved.notify_all()
        except BaseException as error:
            with self._lock:
                self._failure = error
                self._moved.notify_all()

    def _next_run(self) -> list[Order] | None:
        """Wait for the next transfer and return the orders that share its call; None at the end.

        What crosses the link next is decided when the link is free, not before: a demand overtakes all
        prefetches that have not started.
        """
        with self._lock:
            while not self._closed:
                if not self._pending:
                    self._sleep()
                elif run := self._desk.admit():
                    return run
                else:
                    self._moved.notify_all()  # whoever waits looks whether that can end
                    if not self._desk.give_up():
                        self._sleep()
            return None

    def _sleep(self) -> None:
        """Sleep until there is an order, or a slot for one."""
        self._idle = True
        self._work.wait()
        self._idle = False
