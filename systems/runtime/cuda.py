"""Transfers to a CUDA device: one registered host slab, one copy stream, events per slot."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from systems.contract.costs import LinkSpec
from systems.contract.errors import BadInput
from systems.runtime.clock import WallClock
from systems.runtime.slots import Slots
from systems.runtime.store import ExpertStore, RamStore
from systems.runtime.transport import Arrival, Transport


class CopyDone(Arrival):
    """An arrival marked by a CUDA event; waiting blocks the host, so that exposed time is measured there."""

    def __init__(self, event: torch.cuda.Event) -> None:
        self._event = event

    def done(self) -> bool:
        """Whether the copy has ended."""
        return bool(self._event.query())

    def wait(self) -> None:
        """Block until the copy has ended; other threads run meanwhile."""
        self._event.synchronize()


class CudaTransport(Transport):
    """Copies records from page-locked host memory on a stream of its own.

    The store's slab is registered at its exact size, since the caching pinned allocator rounds up to powers
    of two. A slot is overwritten only after the event that its last reader recorded.

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
        self._source, self._slots = store.slab, slots
        _register(store.slab)
        self._device = slots.slab.device
        self._stream = torch.cuda.Stream(self._device)
        self._free: list[torch.cuda.Event | None] = [None] * len(slots)
        self._timed: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._busy = 0.0

    def move(self, experts: list[int], into: list[int], asked: float) -> list[Arrival]:
        """Enqueue the copies of one run on the copy stream."""
        begin, arrivals = torch.cuda.Event(enable_timing=True), list[Arrival]()
        with torch.cuda.stream(self._stream):
            begin.record()
            for expert, slot in zip(experts, into, strict=True):
                if (free := self._free[slot]) is not None:
                    self._stream.wait_event(free)
                self._slots.raw[slot].copy_(self._source[expert], non_blocking=True)
                done = torch.cuda.Event(enable_timing=True)
                done.record()
                arrivals.append(CopyDone(done))
        self._timed.append((begin, done))
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

    @property
    def free_at(self) -> float:
        """Not before the last copy has ended: decisions are made when the link is free, not queued on it."""
        if self._timed and not self._timed[-1][1].query():
            return self.clock.now() + 5e-5
        return 0.0

    def busy_seconds(self) -> float:
        """Sum of the copies that have ended (s)."""
        while self._timed and self._timed[0][1].query():
            begin, done = self._timed.pop(0)
            self._busy += begin.elapsed_time(done) / 1e3
        return self._busy


def _register(slab: torch.Tensor) -> None:
    """Page-lock a slab in place, once.

    Raises:
        BadInput: the operating system refuses to lock that much memory.
    """
    if slab.is_pinned():
        return
    status = torch.cuda.cudart().cudaHostRegister(slab.data_ptr(), slab.nbytes, 0)
    if int(status) != 0 or not slab.is_pinned():
        raise BadInput(f"cannot page-lock {slab.nbytes:,} B of host memory (CUDA error {status}); raise ulimit -l")
