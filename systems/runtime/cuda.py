"""Transfers to a CUDA device: one registered host slab, one copy stream, events per slot."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import torch

from systems.cache.clock import WallClock
from systems.cache.transport import Arrival, Copy, Transport
from systems.contract.costs import Costs, LinkSpec
from systems.contract.errors import BadInput
from systems.store.slots import Slots
from systems.store.store import ExpertStore, RamStore

BLOCK = 16 * 2**20
"""Bytes of a block at most: a third of a millisecond of a PCIe 5 link. It decides how long a demand waits for a
prefetch that has begun; what a block costs besides its bytes, a few microseconds, is a hundredth of that."""
ALIGNED = 256
"""Bytes at whose multiples blocks begin, as what torch's allocator hands out does."""

_UNKNOWN = 1e-3
"""Seconds that a block is taken to need until one has landed."""


class CopyDone(Arrival):
    """An arrival marked by CUDA events, `begin` and `done` on the copy stream of a device; `base` was recorded at
    `zero` of the host's clock (s)."""

    __slots__ = ("_base", "_begin", "_device", "_done", "_zero")

    def __init__(
        self,
        begin: torch.cuda.Event,
        done: torch.cuda.Event,
        base: torch.cuda.Event,
        zero: float,
        device: torch.device,
    ) -> None:
        self._begin, self._done, self._base, self._zero, self._device = begin, done, base, zero, device

    def done(self) -> bool:
        """Whether the copy has ended."""
        return bool(self._done.query())

    def wait(self) -> None:
        """Block the host until the copy has ended; other threads run meanwhile."""
        self._done.synchronize()

    def precede(self) -> None:
        """Let the stream that computes wait for it."""
        torch.cuda.current_stream(self._device).wait_event(self._done)

    def times(self) -> tuple[float, float]:
        """When a copy that has ended began and when it ended, as the device says, on the host's clock (s)."""
        return (
            self._zero + self._base.elapsed_time(self._begin) / 1e3,
            self._zero + self._base.elapsed_time(self._done) / 1e3,
        )

    def after(self, submitted: torch.cuda.Event) -> float | None:
        """How long the device, which had this work submitted, had nothing to compute before the copy had ended (s)."""
        if not (submitted.query() and self._done.query()):
            return None
        return max(0.0, float(submitted.elapsed_time(self._done)) / 1e3)


class BlockCopy(Copy):
    """A record on its way, in blocks of at most `BLOCK` bytes."""

    __slots__ = ("_begin", "_blocks", "_expert", "_slot", "_submitted", "_transport")

    def __init__(self, transport: CudaTransport, expert: int, slot: int, blocks: int) -> None:
        self._transport, self._expert, self._slot = transport, expert, slot
        self._blocks, self._submitted = blocks, 0
        self._begin: torch.cuda.Event | None = None

    @property
    def complete(self) -> bool:
        """Whether all blocks are submitted."""
        return self._submitted == self._blocks

    def submit(self) -> CopyDone:
        """Enqueue the next block on the copy stream, the first behind the readers of the slot."""
        transport = self._transport
        begin, done = transport.enqueue(self._expert, self._slot, self._submitted)
        self._submitted += 1
        self._begin = self._begin or begin
        return transport.arrival(self._begin, done)


def blocks(record: int) -> tuple[int, int]:
    """Return in how many blocks a record of so many bytes travels, and the bytes of one. They are alike: behind a short
    one the link would wait for the host."""
    size = -(-record // -(-record // BLOCK))
    size = -(-size // ALIGNED) * ALIGNED
    return -(-record // size), size


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
        self._blocks, self._block = blocks(store.slab.shape[1])
        self._device = slots.slab.device
        self._stream = torch.cuda.Stream(self._device)
        # The slab is being filled with zeros, in memory that others may have read until now.
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        self._free: list[torch.cuda.Event | None] = [None] * len(slots)
        self._timed: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()
        self._busy, self._landed = 0.0, 0
        self._base, self._zero = torch.cuda.Event(enable_timing=True), 0.0
        self.set_base()

    def set_base(self) -> None:
        """Let arrivals from now on be told on the host's clock from this moment: an event is so much less exact the
        longer ago it is compared with."""
        self._base = torch.cuda.Event(enable_timing=True)
        self._base.record(self._stream)
        self._base.synchronize()
        self._zero = time.perf_counter()

    def copy(self, expert: int, slot: int) -> BlockCopy:
        """Begin to move a record into a slot."""
        return BlockCopy(self, expert, slot, self._blocks)

    def enqueue(self, expert: int, slot: int, block: int) -> tuple[torch.cuda.Event, torch.cuda.Event]:
        """Enqueue one block of a record on the copy stream; return what marks its begin and its end."""
        begin, done = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True, blocking=True)
        part = slice(block * self._block, (block + 1) * self._block)
        with torch.cuda.stream(self._stream):
            if block == 0 and (free := self._free[slot]) is not None:
                self._stream.wait_event(free)
            begin.record(self._stream)  # behind the wait: the link is idle meanwhile
            self._slots.raw[slot][part].copy_(self._store.record(expert)[part], non_blocking=True)
            done.record(self._stream)
        self._timed.append((begin, done))
        return begin, done

    def arrival(self, begin: torch.cuda.Event, done: torch.cuda.Event) -> CopyDone:
        """The arrival that two events of the copy stream mark."""
        return CopyDone(begin, done, self._base, self._zero, self._device)

    def move(self, experts: list[int], into: list[int], asked: float) -> list[Arrival]:
        """Enqueue whole records."""
        arrivals = list[Arrival]()
        for expert, slot in zip(experts, into, strict=True):
            copy = self.copy(expert, slot)
            while not copy.complete:
                arrival = copy.submit()
            arrivals.append(arrival)
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
        """Now, where the last copy has ended; else behind what has not, each block as long as those before took."""
        self.busy_seconds()
        if not self._timed:
            return 0.0
        block = self._busy / self._landed if self._landed else _UNKNOWN
        return self.clock.now() + len(self._timed) * block

    def busy_seconds(self) -> float:
        """Sum of the copies that have ended (s), as the device timed them."""
        while self._timed and self._timed[0][1].query():
            begin, done = self._timed.popleft()
            self._busy += begin.elapsed_time(done) / 1e3
            self._landed += 1
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


def with_link(layers: Costs, store: RamStore, device: torch.device) -> Costs:
    """Return the costs of layers with those of the link to a device."""
    transfer, call = transfer_times(store, device)
    return replace(layers, transfer=transfer, call=call, block=BLOCK)


def require(name: str) -> None:
    """Refuse a device that is not there.

    Raises:
        BadInput: saying which are.
    """
    here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if len(here) > 1:
        here.append("cuda")
    if name not in here:
        why = "" if torch.cuda.is_available() else "; torch finds no CUDA device"
        raise BadInput(f"`model.device` is {name!r}; here are: {', '.join(here)}{why}")


def holds(device: torch.device, nbytes: int) -> bool:
    """Whether a device has so much memory left, and a tenth of it besides for what computing takes. The host has."""
    if device.type != "cuda":
        return True
    free: int = torch.cuda.mem_get_info(device)[0]
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return nbytes * 1.1 <= free + unused
