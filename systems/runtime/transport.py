"""How a record travels from slow to fast memory, and when it has arrived.

Two transports stand behind one interface: a copy on the host, optionally paced so that this machine shows
the transfer times of a named one, and DMA on a CUDA copy stream (`cuda.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from systems.api import LinkSpec
from systems.runtime.clock import Clock
from systems.runtime.slots import Slots
from systems.runtime.store import ExpertStore


class Arrival(Protocol):
    """The moment from which a transferred record may be read."""

    def done(self) -> bool:
        """Whether that moment has passed."""

    def wait(self) -> None:
        """Block until it has."""


class Due:
    """An arrival at a point of a clock, in seconds."""

    __slots__ = ("_clock", "at")

    def __init__(self, at: float, clock: Clock) -> None:
        self.at, self._clock = at, clock

    def done(self) -> bool:
        """Whether the time has come."""
        return self._clock.now() >= self.at

    def wait(self) -> None:
        """Wait until it has."""
        self._clock.wait(self.at)


class Transport(Protocol):
    """Moves records between the store and the slots it was made for.

    Attributes:
        clock: what its arrivals are measured by.
    """

    clock: Clock

    def move(self, first: int, into: Sequence[int], asked: float) -> list[Arrival]:
        """Move the records `first, first + 1, ...` into the slots `into` with one I/O call.

        Args:
            asked: when the first of them was ordered (s); a paced transfer cannot start earlier.
        """

    def released(self, slots: Sequence[int]) -> None:
        """The computation that reads these slots has been submitted; they may be overwritten after it."""

    def next_start(self) -> float:
        """Earliest time (s) at which another transfer can start; 0 if at once."""

    def busy_seconds(self) -> float:
        """Time the link has spent moving records."""


class HostTransport:
    """Copies into host slots; with a `LinkSpec`, records arrive on a virtual clock of that bandwidth.

    A transfer of n bytes starts at `max(ordered, link free)` and its records arrive at
    `start + latency + bytes so far / bandwidth`. Deadlines derive from deadlines, not from when this thread
    woke up, so that sleeping errors never add up. A copy that is slower than the pace pushes the clock back, unless
    the clock is virtual: then only the pace counts.
    """

    def __init__(self, store: ExpertStore, slots: Slots, link: LinkSpec | None, clock: Clock) -> None:
        self._store, self._raw = store, slots.raw
        self.clock = clock
        self._link = link
        self._free_at = 0.0
        self._busy = 0.0

    def move(self, first: int, into: Sequence[int], asked: float) -> list[Arrival]:
        """Copy now; the returned arrivals lie on the virtual clock."""
        start = max(asked, self._free_at) if self._link else self.clock.now()
        self._store.read(first, [self._raw[slot] for slot in into])
        copied = start if self.clock.virtual else self.clock.now()
        if self._link is None:
            self._busy += copied - start
            return [Due(copied, self.clock)] * len(into)
        ready, arrivals = start + self._link.latency, list[Arrival]()
        for slot in into:
            ready += self._raw[slot].nbytes / self._link.bandwidth
            arrivals.append(Due(max(ready, copied), self.clock))
        self._free_at = max(ready, copied)
        self._busy += self._free_at - start
        return arrivals

    def released(self, slots: Sequence[int]) -> None:
        """Nothing to note: on the host, computation has ended when it returns."""

    def next_start(self) -> float:
        """When the paced link is free again."""
        return self._free_at

    def busy_seconds(self) -> float:
        """Sum of transfer durations (s)."""
        return self._busy
