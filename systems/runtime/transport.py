"""How a record travels from slow to fast memory, and when it has arrived.

Two transports stand behind one interface: a copy on the host, optionally paced so that this machine shows
the transfer times of a named one, and DMA on a CUDA copy stream (`cuda.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from systems.contract.costs import LinkSpec
from systems.runtime.clock import Clock

if TYPE_CHECKING:  # of a replay nothing is moved
    from systems.runtime.slots import Slots
    from systems.runtime.store import ExpertStore


class Arrival:
    """The moment from which a transferred record may be read."""

    __slots__ = ()

    def done(self) -> bool:
        """Whether that moment has passed."""
        raise NotImplementedError

    def wait(self) -> None:
        """Block until it has."""
        raise NotImplementedError


class Due(Arrival):
    """An arrival at a point of a clock, in seconds; `began` is when the link turned to it."""

    __slots__ = ("_clock", "at", "began")

    def __init__(self, at: float, clock: Clock, began: float) -> None:
        self.at, self._clock, self.began = at, clock, began

    def done(self) -> bool:
        """Whether the time has come."""
        return self._clock.now() >= self.at

    def wait(self) -> None:
        """Wait until it has."""
        self._clock.wait(self.at)


class Transport:
    """Moves records between the store and the slots it was made for.

    Attributes:
        clock: what its arrivals are measured by.
        asynchronous: whether slots may still be read when the call that computes from them has returned.
    """

    asynchronous: bool = False

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @property
    def free_at(self) -> float:
        """Earliest time (s) at which another transfer can start; 0 if at once."""
        raise NotImplementedError

    def move(self, first: int, into: list[int], asked: float) -> list[Arrival]:
        """Move the records `first, first + 1, ...` into the slots `into` with one I/O call.

        Args:
            asked: when the first of them was ordered (s); a paced transfer cannot start earlier.
        """
        raise NotImplementedError

    def released(self, slots: Sequence[int]) -> None:
        """The computation that reads these slots has been submitted; they may be overwritten after it."""

    def busy_seconds(self) -> float:
        """Time the link has spent moving records."""
        raise NotImplementedError


class PacedLink(Transport):
    """A link of a given bandwidth, on which records of one size arrive by a clock; moves nothing itself.

    A transfer of n records starts at `max(asked, link free)` and its records arrive at
    `start + latency + bytes so far / bandwidth`. Deadlines derive from deadlines, not from when a thread woke up, so
    that sleeping errors never add up.
    """

    def __init__(self, link: LinkSpec, record_bytes: int, clock: Clock) -> None:
        super().__init__(clock)
        self._latency, self._record = link.latency, record_bytes / link.bandwidth
        self._free_at = self._busy = 0.0

    @property
    def free_at(self) -> float:
        """When the last transfer ends."""
        return self._free_at

    def move(self, first: int, into: list[int], asked: float, copied: float = 0.0) -> list[Arrival]:
        """Arrive by the clock alone; see `Transport`.

        Args:
            copied: when the records' real copies had ended (s); late ones push the link back.
        """
        start = max(asked, self._free_at)
        ready, arrivals = start + self._latency, list[Arrival]()
        began = start
        for _ in into:
            ready += self._record
            due = max(ready, copied)
            arrivals.append(Due(due, self.clock, began))
            began = due
        self._free_at = due
        self._busy += due - start
        return arrivals

    def busy_seconds(self) -> float:
        """Sum of transfer durations (s)."""
        return self._busy


class HostTransport(Transport):
    """Copies into host slots; with a `LinkSpec`, records arrive when a link of that bandwidth would have brought them.

    A copy that is slower than the pace pushes the link back, unless the clock is virtual: then only the pace counts.
    """

    def __init__(self, store: ExpertStore, slots: Slots, link: LinkSpec | None, clock: Clock) -> None:
        super().__init__(clock)
        self._store, self._raw = store, slots.raw
        self._paced = PacedLink(link, store.shape.record_bytes(store.dtype), clock) if link is not None else None
        self._busy = 0.0

    def move(self, first: int, into: list[int], asked: float) -> list[Arrival]:
        """Copy now; paced arrivals lie ahead."""
        start = self.clock.now()
        self._store.read(first, [self._raw[slot] for slot in into])
        copied = self.clock.now()
        if self._paced is not None:
            return self._paced.move(first, into, asked, 0.0 if self.clock.virtual else copied)
        self._busy += copied - start
        return [Due(copied, self.clock, start)] * len(into)

    @property
    def free_at(self) -> float:
        """When a paced link is free again."""
        return self._paced.free_at if self._paced is not None else 0.0

    def busy_seconds(self) -> float:
        """Sum of transfer durations (s)."""
        return self._paced.busy_seconds() if self._paced is not None else self._busy
