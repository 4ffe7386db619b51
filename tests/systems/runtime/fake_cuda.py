"""Stand-ins for CUDA streams, events and page-locked memory: what is queued happens late, and races are found.

A copy fills its destination with NaN when it is queued and lands later: when somebody waits for it, or at a random
moment, in the order of its stream. Kernels run where they are called, since their operands are host tensors; whether
they were allowed to is judged by vector clocks. A clock counts the operations of every stream and of every host thread;
what is ordered is only what streams, events, waits and locks order. Reading a value on the host (`tolist`) orders
nothing here, though it does on a device: a race that it hides is found.

Found are: reading a slot before its copy is known to have ended, overwriting one that is still being read, two writers
of one slot, copies from memory that is not page-locked, from memory that was locked for somebody else, and memory
freed while a copy into it is queued.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from systems.cache import link
from systems.compose import live
from systems.runtime import cuda
from systems.store import page_lock
from systems.store.slots import Slots

Clock = dict[Any, int]
ALREADY_REGISTERED = 712


def join(into: Clock, other: Clock) -> None:
    """Let one clock know all that the other knows."""
    for who, count in other.items():
        if into.get(who, 0) < count:
            into[who] = count


class FakeEvent:
    """A `torch.cuda.Event`."""

    def __init__(self, sim: FakeCuda) -> None:
        self._sim = sim
        self.stream: FakeStream | None = None
        self.clock: Clock = {}
        self.time: float | None = None
        self._patience = 3

    def record(self, stream: FakeStream | None = None) -> None:
        with self._sim.lock:
            self.stream = stream or self._sim.current()
            self.clock, self.time = dict(self.stream.issue()), None
            self.stream.queue.append((self._happen, None))
            self._sim.tick()

    def query(self) -> bool:
        with self._sim.lock:
            self._sim.tick()
            if self.time is None and self.stream is not None and self._patience > 0:
                self._patience -= 1
                return False
            self._sim.finish(self)  # who asks again and again sees it happen
            join(self._sim.thread(), self.clock)
            return True

    def synchronize(self) -> None:
        with self._sim.lock:
            self._sim.finish(self)
            join(self._sim.thread(), self.clock)

    def elapsed_time(self, later: FakeEvent) -> float:
        if self.time is None or later.time is None:
            raise RuntimeError("device not ready")
        return (later.time - self.time) * 1e3

    def _happen(self) -> None:
        self.time = time.perf_counter()


class FakeStream:
    """A `torch.cuda.Stream`: a queue of effects, each maybe behind an event of another stream."""

    def __init__(self, sim: FakeCuda, name: str) -> None:
        self._sim, self.name = sim, name
        self.queue: deque[tuple[Callable[[], None] | None, FakeEvent | None]] = deque()
        self.clock: Clock = {}

    def issue(self) -> Clock:
        """Queue an operation: it comes behind what is queued, and behind what the calling thread knows."""
        join(self.clock, self._sim.thread())
        self.clock[self.name] = self.clock.get(self.name, 0) + 1
        return self.clock

    def wait_event(self, event: FakeEvent) -> None:
        with self._sim.lock:
            self.issue()
            join(self.clock, event.clock)
            self.queue.append((None, event))
            self._sim.tick()
            if self is self._sim.computing:  # kernels run where they are called: what they come behind has happened
                self._sim.finish(event)

    def wait_stream(self, other: FakeStream) -> None:
        event = FakeEvent(self._sim)
        event.record(other)
        self.wait_event(event)

    def synchronize(self) -> None:
        event = FakeEvent(self._sim)
        event.record(self)
        event.synchronize()


class FakeCuda:
    """One device and the host beside it.

    Args:
        seed: of the moments at which what is queued happens.
        eager: share of calls at which something of it does, unasked.

    Attributes:
        races: what has gone wrong.
        reads: how often a kernel has read a slot.
    """

    def __init__(self, seed: int = 0, eager: float = 0.3) -> None:
        self._random, self._eager = random.Random(seed), eager
        self.lock = threading.RLock()
        self.computing = FakeStream(self, "compute")
        self._streams = [self.computing]
        self._current = threading.local()
        self._threads: dict[int, Clock] = {}
        self.registered: dict[int, torch.Tensor] = {}
        self.races: list[str] = []
        self.reads = 0
        self._read: dict[Any, list[tuple[Any, int]]] = {}
        self._written: dict[Any, tuple[Any, int]] = {}

    # What orders things.

    def thread(self) -> Clock:
        """What the calling thread knows."""
        return self._threads.setdefault(threading.get_ident(), {})

    def current(self) -> FakeStream:
        stream: FakeStream = getattr(self._current, "stream", self.computing)
        return stream

    @contextmanager
    def within(self, stream: FakeStream) -> Iterator[None]:
        """`torch.cuda.stream`."""
        before, self._current.stream = self.current(), stream
        try:
            yield
        finally:
            self._current.stream = before

    def stream(self, device: Any = None) -> FakeStream:
        """`torch.cuda.Stream`."""
        self._streams.append(FakeStream(self, f"stream {len(self._streams)}"))
        return self._streams[-1]

    def tick(self) -> None:
        """Let some of what is queued happen, or nothing."""
        while self._random.random() < self._eager:
            self._step(self._random.choice(self._streams))

    def finish(self, event: FakeEvent) -> None:
        """Let happen what must have before an event is reached."""
        while event.time is None and event.stream is not None:
            _, behind = event.stream.queue[0]
            if behind is not None:
                self.finish(behind)
            self._step(event.stream)

    def _step(self, stream: FakeStream) -> None:
        if not stream.queue:
            return
        effect, behind = stream.queue[0]
        if behind is not None and behind.time is None and behind.stream is not None:
            return
        stream.queue.popleft()
        if effect is not None:
            effect()

    # What happens to slots.

    def reading(self, slot: Any) -> None:
        """A kernel on the current stream reads a slot."""
        with self.lock:
            self.reads += 1
            stream = self.current()
            clock = stream.issue()
            self._ordered(slot, "read before it is there", clock, [self._written[slot]])
            self._read.setdefault(slot, []).append((stream.name, clock[stream.name]))

    def writing(self, slot: Any) -> None:
        """Something queued on the current stream writes a slot."""
        stream = self.current()
        clock = stream.issue()
        self._ordered(slot, "overwritten while it is read", clock, self._read.pop(slot, []))
        if slot in self._written:
            self._ordered(slot, "written by two", clock, [self._written[slot]])
        self._written[slot] = (stream.name, clock[stream.name])

    def copy(self, target: torch.Tensor, source: torch.Tensor, slot: Any) -> None:
        """Queue a copy on the current stream."""
        with self.lock:
            stream = self.current()
            self.writing(slot)
            if stream is self.computing:  # a plain copy from pageable memory, which the host waits for
                target.copy_(source)
                return
            pages = self._pages(source)
            target.fill_(255)
            stream.queue.append((lambda: self._land(target, pages, slot), None))
            self.tick()

    def freed(self, slots: Any) -> None:
        """Memory is handed back."""
        with self.lock:
            for stream in self._streams:
                for effect, _ in stream.queue:
                    cells = [cell.cell_contents for cell in getattr(effect, "__closure__", None) or ()]
                    if any(isinstance(cell, tuple) and cell[0] == id(slots) for cell in cells):
                        self.races.append("slots are freed while a copy into them is queued")

    def _land(self, target: torch.Tensor, pages: torch.Tensor, slot: Any) -> None:
        target.copy_(pages)

    def _ordered(self, slot: Any, what: str, clock: Clock, before: list[tuple[Any, int]]) -> None:
        if any(clock.get(who, 0) < count for who, count in before):
            self.races.append(f"slot {slot[1]} is {what}")

    # Page-locked memory. The device reads the pages that were there when they were locked.

    def register(self, address: int, size: int, flags: int) -> int:
        """`cudaHostRegister`."""
        if any(start < address + size and address < start + len(held) for start, held in self.registered.items()):
            return ALREADY_REGISTERED
        memory = (torch.frombuffer(_bytes_at(address, size), dtype=torch.uint8)).clone()
        self.registered[address] = memory
        return 0

    def unregister(self, address: int) -> int:
        """`cudaHostUnregister`."""
        del self.registered[address]
        return 0

    def pinned(self, tensor: torch.Tensor) -> bool:
        """`Tensor.is_pinned`, which looks where the storage begins, and not where the tensor does."""
        address = tensor.untyped_storage().data_ptr()
        return any(start <= address < start + len(held) for start, held in self.registered.items())

    def _pages(self, source: torch.Tensor) -> torch.Tensor:
        for start, held in self.registered.items():
            offset = source.data_ptr() - start
            if 0 <= offset < len(held):
                if offset + source.nbytes > len(held):
                    self.races.append("a copy crosses the end of locked memory")
                return held[offset : offset + source.nbytes]
        self.races.append("a copy from memory that is not locked")
        return source


def _bytes_at(address: int, size: int) -> Any:
    import ctypes

    return (ctypes.c_uint8 * size).from_address(address)


class _Watched(torch.Tensor):
    """Weights in a slot; every function that is given them reads the slot."""

    sim: FakeCuda
    slot: Any
    plain: torch.Tensor

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def seen(value: Any) -> Any:
            if not isinstance(value, _Watched):
                return value
            value.sim.reading(value.slot)
            return value.plain

        return func(*(seen(value) for value in args), **{name: seen(value) for name, value in (kwargs or {}).items()})


class _Destination:
    """A slot's bytes, as a transport writes them."""

    def __init__(self, sim: FakeCuda, raw: torch.Tensor, slot: Any) -> None:
        self._sim, self._raw, self._slot = sim, raw, slot

    def __getitem__(self, part: slice) -> _Destination:
        return _Destination(self._sim, self._raw[part], self._slot)

    def copy_(self, source: torch.Tensor, non_blocking: bool = False) -> None:
        self._sim.copy(self._raw, source, self._slot)


class _Lock:
    """A lock that hands on what its last owner knew."""

    def __init__(self, sim: FakeCuda) -> None:
        self._sim, self._lock, self._clock = sim, threading.Lock(), Clock()

    def acquire(self, *how: Any) -> bool:
        got = self._lock.acquire(*how)
        if got:
            with self._sim.lock:
                join(self._sim.thread(), self._clock)
        return got

    def release(self) -> None:
        with self._sim.lock:
            join(self._clock, self._sim.thread())
        self._lock.release()

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()


def install(monkeypatch: pytest.MonkeyPatch, sim: FakeCuda, block: int = cuda.BLOCK) -> None:
    """Let systems that are built from now on run on the device, to which records travel in blocks of so many bytes."""

    class WatchedSlots(Slots):
        def __init__(self, shape: Any, dtype: torch.dtype, count: int, device: torch.device) -> None:
            super().__init__(shape, dtype, count, torch.device("cpu"))
            for slot in range(count):
                sim.writing((id(self), slot))  # zeros, by the computing stream
            self.raw = [_Destination(sim, raw, (id(self), slot)) for slot, raw in enumerate(self.raw)]  # type: ignore[misc]
            self.matrices = [self._watched(slot, parts) for slot, parts in enumerate(self.matrices)]

        def close(self) -> None:
            sim.freed(self)
            super().close()

        def _watched(self, slot: int, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            found = []
            for tensor in tensors:
                watched = tensor.as_subclass(_Watched)
                watched.sim, watched.slot, watched.plain = sim, (id(self), slot), tensor
                found.append(watched)
            return tuple(found)

    class Stream:  # as a type: transformers annotates with it
        def __new__(cls, device: Any = None) -> Any:
            return sim.stream(device)

    class Event:
        def __new__(cls, enable_timing: bool = False, blocking: bool = False) -> Any:
            return FakeEvent(sim)

    sim.thread()
    fakes = {
        "Stream": Stream,
        "Event": Event,
        "stream": sim.within,
        "current_stream": lambda device=None: sim.current(),
        "cudart": lambda: SimpleNamespace(cudaHostRegister=sim.register, cudaHostUnregister=sim.unregister),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda tensor, *_: sim.pinned(tensor))
    monkeypatch.setattr(live, "Slots", WatchedSlots)
    monkeypatch.setattr(live.LiveAssembly, "on_device", True)
    tracked = SimpleNamespace(Lock=lambda: _Lock(sim), Condition=threading.Condition, Thread=threading.Thread)
    monkeypatch.setattr(link, "threading", tracked)
    monkeypatch.setattr(cuda, "BLOCK", block)
    assert cuda.torch is torch
    assert page_lock.torch is torch
