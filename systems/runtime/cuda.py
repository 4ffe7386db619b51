"""Transfers to a CUDA device: one registered host slab, one copy stream, events per slot."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from systems.cache.clock import WallClock
from systems.cache.transport import Arrival, Transport
from systems.contract.costs import LinkSpec
from systems.contract.errors import BadInput
from systems.store.slots import Slots
from systems.store.store import ExpertStore, RamStore


class CopyDone(Arrival):
    """An arrival marked by CUDA events, `begin` and `done` on the copy stream; `base` was recorded at `zero` of the
    host's clock (s)."""

    __slots__ = ("_base", "_begin", "_done", "_zero")

    def __init__(self, begin: torch.cuda.Event, done: torch.cuda.Event, base: torch.cuda.Event, zero: float) -> None:
        self._begin, self._done, self._base, self._zero = begin, done, base, zero

    def done(self) -> bool:
        """Whether the copy has ended."""
        return bool(self._done.query())

    def wait(self) -> None:
        """Block the host until the copy has ended; other threads run meanwhile."""
        self._done.synchronize()

    def times(self) -> tuple[float, float]:
        """When a copy that has ended began and when it ended, as the device says, on the host's clock (s)."""
        return (
            self._zero + self._base.elapsed_time(self._begin) / 1e3,
            self._zero + self._base.elapsed_time(self._done) / 1e3,
        )

    def after(self, submitted: torch.cuda.Event) -> float:
        """How long the device, which had this work submitted, had nothing to compute before the copy had ended (s)."""
        return max(0.0, submitted.elapsed_time(self._done) / 1e3) if submitted.query() else 0.0


class CudaTransport(Transport):
    """Copies records from page-locked host memory on a stream of its own.

    A slot is overwritten only after the event that its last reader recorded. What computes runs on the stream that is
    current where the transport is made.

    Raises:
        BadInput: the store is not `ram`, or the link is a paced one: emulation is for hosts without a device.
    """

    asynchronous = True

    def __init__(self, store: ExpertStore, slots: Slots, link: LinkSpec | None) -> None:
        if not isinstance(store, RamStore):
            raise BadInput("a CUDA device is fed from host memory; set model.store=ram")
        if link is not None:
            raise BadInput("an emulated link stands for a device on the host; use hardware=local with a CUDA device")
        super().__init__(WallClock())
        store.page_lock()
        self._store, self._slots = store, slots
        self._device = slots.slab.device
        self._stream = torch.cuda.Stream(self._device)
        # The slab is being filled with zeros, in memory that others may have read until now.
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        self._free: list[torch.cuda.Event | None] = [None] * len(slots)
        self._timed: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._busy = 0.0
        self._base, self._zero = torch.cuda.Event(enable_timing=True), 0.0
        self.set_base()

    def set_base(self) -> None:
        """Let arrivals from now on be told on the host's clock from this moment: an event is so much less exact the
        longer ago it is compared with."""
        self._base = torch.cuda.Event(enable_timing=True)
        self._base.record(self._stream)
        self._base.synchronize()
        self._zero = time.perf_counter()

    def move(self, experts: list[int], into: list[int], asked: float) -> list[Arrival]:
        """Enqueue the copies of one run on the copy stream, each behind the readers of its slot."""
        arrivals = list[Arrival]()
        with torch.cuda.stream(self._stream):
            for expert, slot in zip(experts, into, strict=True):
                if (free := self._free[slot]) is not None:
                    self._stream.wait_event(free)
                begin, done = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                begin.record(self._stream)  # behind the wait: the link is idle meanwhile
                self._slots.raw[slot].copy_(self._store.record(expert), non_blocking=True)
                done.record(self._stream)
                self._timed.append((begin, done))
                arrivals.append(CopyDone(begin, done, self._base, self._zero))
        return arrivals

    def put(self, expert: int, slot: int) -> None:
        """Copy, and wait for it."""
        for arrival in self.move([expert], [slot], 0.0):
            arrival.wait()

    def released(self, slots: Sequence[int]) -> None:
        """Record on the computing stream that the readers of these slots have been submitted."""
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        for slot in slots:
            self._free[slot] = event

    def submitted(self) -> torch.cuda.Event:
        """Mark the end of what has been submitted to the computing stream; see `CopyDone.after`."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    @property
    def free_at(self) -> float:
        """Not before the last copy has ended: decisions are made when the link is free, not queued on it."""
        if self._timed and not self._timed[-1][1].query():
            return self.clock.now() + 5e-5
        return 0.0

    def busy_seconds(self) -> float:
        """Sum of the copies that have ended (s), as the device timed them."""
        while self._timed and self._timed[0][1].query():
            begin, done = self._timed.pop(0)
            self._busy += begin.elapsed_time(done) / 1e3
        return self._busy

    def close(self) -> None:
        """Wait for copies in flight: the slab may be freed then, and the store's memory unlocked."""
        self._stream.synchronize()


_COPIES = 64
"""Records whose copies are timed; all different, as long as there are so many."""


def transfer_times(store: RamStore, device: torch.device) -> tuple[float, float]:
    """Time copies from the store to a device, one at a time, as the device sees them; return the medians (s) of a whole
    record, and of 64 bytes: what a copy takes however small it is."""
    store.page_lock()
    into = torch.empty(4, store.slab.shape[1], dtype=torch.uint8, device=device)
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))

    def time_one(turn: int, size: int) -> float:
        source, target = store.slab[turn % len(store.slab), :size], into[turn % len(into), :size]
        begin, done = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        with torch.cuda.stream(stream):
            begin.record(stream)
            target.copy_(source, non_blocking=True)
            done.record(stream)
        done.synchronize()
        return float(begin.elapsed_time(done)) / 1e3

    record, least = store.slab.shape[1], min(64, store.slab.shape[1])
    whole, small = (sorted(time_one(turn, size) for turn in range(_COPIES)) for size in (record, least))
    return whole[_COPIES // 2], min(small[_COPIES // 2], whole[_COPIES // 2])


def holds(device: torch.device, nbytes: int) -> bool:
    """Whether a device has so much memory left, and a tenth of it besides for what computing takes. The host has."""
    if device.type != "cuda":
        return True
    free: int = torch.cuda.mem_get_info(device)[0]
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return nbytes * 1.1 <= free + unused
