"""What keeps the copy stream of a device busy: whoever orders, and a thread that sleeps until a block has landed."""

from __future__ import annotations

from collections import deque

from systems.cache.link import PATIENCE, Stuck, WorkedLink
from systems.cache.transfers import TransferDesk
from systems.cache.transport import IN_FLIGHT, Arrival, Copy, Transport
from systems.policies.orders import Order


class DeviceLink(WorkedLink):
    """Submits copies block by block.

    What the computation waits for is submitted at once, all of it: nothing overtakes it, and the device, not the host,
    waits for its arrival. Of prefetches a few blocks are in flight at a time; whenever one has landed the thread looks
    what is wanted most by now. It blocks without the interpreter lock, and sleeps where there is nothing to submit.
    """

    def __init__(self, desk: TransferDesk, transport: Transport) -> None:
        self._begun: list[tuple[Order, Copy]] = []
        """Copies that have a slot, and blocks that are not submitted."""
        self._flying: deque[Arrival] = deque()
        """Blocks that are submitted, in the order in which they land."""
        super().__init__(desk, transport)  # last: the thread starts

    def wake(self) -> None:
        """Submit what can be; wake the thread if that is not all."""
        self._submit()
        if self._idle and self._flying and (self._begun or self._pending):
            self._work.notify()

    def wait(self) -> None:
        """Submit what can be, else block until a block has landed."""
        self.check()
        self._land()
        if self._submit():
            return
        if not self._flying:
            if self._desk.give_up():
                return
            raise Stuck(f"nothing can move: {self._desk.describe()}")
        if self._idle:
            self._work.notify()
        if not self._moved.wait(PATIENCE):
            raise Stuck(f"nothing has moved for {PATIENCE:.0f} s: {self._desk.describe()}")

    def _serve(self) -> None:
        try:
            while (oldest := self._next_landing()) is not None:
                oldest.wait()
        except BaseException as error:
            with self._lock:
                self._failure = error
                self._moved.notify_all()

    def _next_landing(self) -> Arrival | None:
        """Submit what can be, and return the block that lands next once somebody needs to know; None at the end."""
        with self._lock:
            while not self._closed:
                self._land()
                self._submit()
                self._moved.notify_all()
                if self._flying and (self._begun or self._pending):
                    return self._flying[0]
                self._idle = True
                self._work.wait()
                self._idle = False
            return None

    def _land(self) -> None:
        while self._flying and self._flying[0].done():
            self._flying.popleft()

    def _submit(self) -> bool:
        """Submit all that may be now; return whether there was anything."""
        submitted = False
        while (index := self._next()) >= 0:
            order, copy = self._begun[index]
            self._flying.append(block := copy.submit())
            if copy.complete:
                del self._begun[index]
                self._desk.note([order], [block])
            submitted = True
        return submitted

    def _next(self) -> int:
        """Return which begun copy comes next, having begun another where that is due; -1 if none may go on now."""
        begun = self._begun
        for index, (order, _) in enumerate(begun):
            if self._desk.awaited(order):
                return index
        demanded = self._desk.queue.demanded
        if demanded and (index := self._begin()) >= 0:
            return index
        if len(self._flying) >= IN_FLIGHT:
            self._land()
            if len(self._flying) >= IN_FLIGHT:
                return -1
        if begun:
            return 0  # also beside a demand that was refused: what has begun may be what it waits for
        return self._begin() if self._pending and not demanded else -1

    def _begin(self) -> int:
        """Begin what travels next; return the first of it, -1 where no slot can be had."""
        first = len(self._begun)
        run = self._desk.admit()
        self._begun += [(order, self._transport.copy(order.expert, self._desk.slot_of(order))) for order in run]
        return first if run else -1
