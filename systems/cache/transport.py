"""How a record travels from slow to fast memory, and when it has arrived.

Behind one interface: a copy on the host, DMA on a CUDA copy stream (`cuda.py`), and an emulated link, on which nothing
is copied and records arrive by a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from systems.cache.clock import Clock
from systems.contract.costs import LinkSpec

if TYPE_CHECKING:  # of a replay nothing is moved
    from systems.store.slots import Slots
    from systems.store.store import ExpertStore


class Arrival:
    """The moment from which a transferred record may be read."""

    __slots__ = ()

    def done(self) -> bool:
        """Whether that moment has passed."""
        raise NotImplementedError

    def wait(self) -> None:
        """Block until it has."""
        raise NotImplementedError

    def times(self) -> tuple[float, float]:
        """When the transfer began and when it ended or will, in seconds of the link's clock; where only a device knows,
        not before it has ended."""
        raise NotImplementedError

    def precede(self) -> None:
        """Let what is submitted to a device from now on come behind it, while the host goes on."""
        raise NotImplementedError

    def after(self, submitted: Any) -> float | None:
        """How long a device waited for this arrival (s); None while it does not know. See `Transport.submitted`."""
        raise NotImplementedError


class Copy:
    """A record on its way to a device in blocks, behind any of which another may overtake it."""

    __slots__ = ()

    @property
    def complete(self) -> bool:
        """Whether all blocks are submitted."""
        raise NotImplementedError

    def submit(self) -> Arrival:
        """Submit the next block; return when it has arrived, and with the last one the record."""
        raise NotImplementedError


class Due(Arrival):
    """An arrival at a point of a clock, in seconds; `began` is when the link turned to it."""

    __slots__ = ("_clock", "at", "began", "seen")

    def __init__(self, at: float, clock: Clock, began: float) -> None:
        self.at, self._clock, self.began = at, clock, began
        self.seen = False
        """Whether somebody has seen it come: a clock may go back behind that."""

    def done(self) -> bool:
        """Whether the time has come."""
        self.seen = self.seen or self._clock.now() >= self.at
        return self.seen

    def wait(self) -> None:
        """Wait until it has."""
        self._clock.wait(self.at)

    def times(self) -> tuple[float, float]:
        """Known from the start."""
        return self.began, self.at


class Transport:
    """Moves records between the store and the slots it was made for.

    Attributes:
        clock: what its arrivals are measured by.
        asynchronous: whether slots may still be read when the call that computes from them has returned.
        yields: whether a demand may overtake what has started, which then arrives later than it was said to.
    """

    asynchronous: bool = False
    yields: bool = False

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @property
    def free_at(self) -> float:
        """Earliest time (s) at which another transfer can start; 0 if at once."""
        raise NotImplementedError

    @property
    def ready_at(self) -> float:
        """When it takes another transfer that nobody waits for (s)."""
        return self.free_at

    def move(self, experts: list[int], into: list[int], asked: float) -> list[Arrival]:
        """Move the records of these expert ids into the slots `into` with one I/O call.

        Args:
            asked: from when on all of them could have started (s); on an emulated link they start no earlier.
        """
        raise NotImplementedError

    def opening(self, asked: float) -> float:
        """When a demand that was asked for then can start (s): where it may overtake, before the last transfer ends."""
        return self.free_at

    def overtake(self, expert: int, into: int, at: float) -> Arrival:
        """Move a record into a slot from `at` on, before what is left of those on their way. For those that yield."""
        raise NotImplementedError

    def copy(self, expert: int, slot: int) -> Copy:
        """Begin to move a record into a slot, block by block. For asynchronous ones."""
        raise NotImplementedError

    def put(self, expert: int, slot: int) -> None:
        """Let a slot hold a record at once: no transfer that anybody measures."""
        raise NotImplementedError

    def put_back(self, slots: list[int], asked: float) -> None:
        """Copy to slow memory what slots hold that are about to be overwritten; the next `move` starts behind it.

        It is there already, unchanged: the copy costs what it costs, and nobody reads it.

        Args:
            asked: as in `move`.
        """
        raise NotImplementedError

    def released(self, slots: Sequence[int]) -> None:
        """The computation that reads these slots has been submitted; they may be overwritten after it."""

    def submitted(self) -> Any:
        """Mark the end of what has been submitted to a device, for `Arrival.after`: only the device knows how long it
        has waited for a copy. For asynchronous ones."""
        raise NotImplementedError

    def set_base(self) -> None:
        """Arrivals are about to be told on the clock; an asynchronous one takes its bearings."""

    def close(self) -> None:
        """Let what is in flight land. Idempotent."""

    def busy_seconds(self) -> float:
        """Time the link has spent moving records."""
        raise NotImplementedError


IN_FLIGHT = 2
"""Blocks of prefetches that a device is given at a time: while one is carried the next is there, so that the link does
not wait for the host, and a demand waits for these at most."""


class EmulatedLink(Transport):
    """A link of a given bandwidth, on which records of one size arrive by a clock; moves nothing itself.

    A transfer of n records starts at `max(asked, link free)` and its records arrive at
    `start + latency + bytes so far / bandwidth`, or later by what has overtaken them.
    """

    def __init__(self, link: LinkSpec, record_bytes: int, clock: Clock) -> None:
        super().__init__(clock)
        self._latency, self._record = link.latency, record_bytes / link.bandwidth
        self._free_at = self._busy = 0.0
        self.yields = link.block is not None
        self._block = 0.0 if link.block is None else self._record / -(-record_bytes // link.block)
        self._moving: list[Due] = []
        """Arrivals of what was started and may be overtaken, until it has come."""
        self._begun = 0.0
        """From when on blocks of the last of it are in flight."""
        self._origin = 0.0
        """When the first block that is left of the last of it begins to be carried."""

    @property
    def free_at(self) -> float:
        """When the last transfer ends."""
        return self._free_at

    @property
    def ready_at(self) -> float:
        """When the last transfer ends; where two blocks are in flight, with its last but one."""
        return self._free_at - (IN_FLIGHT - 1) * self._block

    def move(self, experts: list[int], into: list[int], asked: float) -> list[Arrival]:
        """Arrive by the clock; see `Transport`."""
        start = max(asked, self._free_at)
        due, arrivals = start + self._latency, list[Arrival]()
        self._begun, self._origin, began = start, due, start
        self._moving = [other for other in self._moving if not other.done()]
        for _ in into:
            due += self._record
            arrival = Due(due, self.clock, began)
            arrivals.append(arrival)
            if self.yields:
                self._moving.append(arrival)
            began = due
        self._free_at = due
        self._busy += due - start
        return arrivals

    def opening(self, asked: float) -> float:
        """Behind the blocks that are in flight by then; what has arrived is not overtaken. See `Transport`."""
        if not self.yields:
            return self._free_at
        flying = (asked - self._origin) // self._block + IN_FLIGHT
        opens = self._origin + max(flying, IN_FLIGHT if asked >= self._begun else 0) * self._block
        landed = [due.at for due in self._moving if due.done()]
        return min(max(opens, *landed, 0.0), self._free_at)

    def overtake(self, expert: int, into: int, at: float) -> Arrival:
        """Put what is left off until the record has come; see `Transport`."""
        takes = self._latency + self._record
        if at >= self._free_at:
            self._moving, self._free_at = [], at
        for due in self._moving:
            if due.at > at:
                due.at += takes
                due.began += takes if due.began >= at else 0.0
        self._free_at += takes
        self._begun = self._origin = at + takes
        self._busy += takes
        return Due(self._origin, self.clock, at)

    def put(self, expert: int, slot: int) -> None:
        """Nothing is to be moved."""

    def put_back(self, slots: list[int], asked: float) -> None:
        """Take as long as the way here; both directions of a link are as fast."""
        start = max(asked, self._free_at)
        self._free_at = start + self._latency + len(slots) * self._record
        self._busy += self._free_at - start

    def busy_seconds(self) -> float:
        """Sum of transfer durations (s)."""
        return self._busy


class CopyingEmulatedLink(EmulatedLink):
    """An emulated link that copies as well, off the clock: for records that cannot be read where they lie."""

    def __init__(self, link: LinkSpec, store: ExpertStore, slots: Slots, clock: Clock) -> None:
        super().__init__(link, store.shape.record_bytes(store.dtype), clock)
        self._store, self._raw = store, slots.raw

    def move(self, experts: list[int], into: list[int], asked: float) -> list[Arrival]:
        """Copy while the clock stands still; see `EmulatedLink`."""
        with self.clock.stopped():
            self._store.read(experts, [self._raw[slot] for slot in into])
        return super().move(experts, into, asked)

    def overtake(self, expert: int, into: int, at: float) -> Arrival:
        """Copy while the clock stands still; see `EmulatedLink`."""
        with self.clock.stopped():
            self.put(expert, into)
        return super().overtake(expert, into, at)

    def put(self, expert: int, slot: int) -> None:
        """Copy."""
        self._store.read([expert], [self._raw[slot]])


class HostTransport(Transport):
    """Copies into host slots, as fast as this machine does."""

    def __init__(self, store: ExpertStore, slots: Slots, clock: Clock) -> None:
        super().__init__(clock)
        self._store, self._raw = store, slots.raw
        self._outside: Any = None
        """Where evicted records go that are copied back."""
        self._busy = 0.0

    @property
    def free_at(self) -> float:
        """At once: a copy has ended when `move` returns."""
        return 0.0

    def move(self, experts: list[int], into: list[int], asked: float) -> list[Arrival]:
        """Copy now."""
        start = self.clock.now()
        self._store.read(experts, [self._raw[slot] for slot in into])
        copied = self.clock.now()
        self._busy += copied - start
        return [Due(copied, self.clock, start)] * len(into)

    def put_back(self, slots: list[int], asked: float) -> None:
        """Copy now."""
        start = self.clock.now()
        for slot in slots:
            if self._outside is None:
                self._outside = self._raw[slot].clone()
            else:
                self._outside.copy_(self._raw[slot])
        self._busy += self.clock.now() - start

    def put(self, expert: int, slot: int) -> None:
        """Copy."""
        self._store.read([expert], [self._raw[slot]])

    def busy_seconds(self) -> float:
        """Sum of transfer durations (s)."""
        return self._busy
