"""Short measurements of what a benchmark rests on: clock, sleep, memory, disk, device link, and how steady they are."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 0.5
"""How long each probe samples."""
SLAB_BYTES = 256 * 2**20
"""Records are copied out of so much memory: far more than a processor caches."""
IN_FLIGHT = 4
"""Copies to a device that are timed together, so that starting each does not count."""
WORK_SECONDS = 1e-3
"""About how long the fixed work takes whose spread shows disturbances: as long as a transfer of an expert."""


@dataclass(frozen=True)
class Spread:
    """Times of the same thing, in seconds."""

    median: float
    high: float
    """95th percentile."""
    worst: float

    @property
    def disturbance(self) -> float:
        """How much longer the 95th percentile takes than the median, as a share."""
        return self.high / self.median - 1


def spread(times: Sequence[float]) -> Spread:
    """Summarise times; the percentile is a measured value, not an interpolated one."""
    ordered = sorted(times)
    return Spread(statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))], ordered[-1])


def sample(action: Callable[[], object], seconds: float = SECONDS) -> list[float]:
    """Time an action again and again, after one untimed run."""
    action()
    times = list[float]()
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end or len(times) < 5:
        action()
        times.append(time.perf_counter() - start)
    return times


def clock_step() -> float:
    """The smallest step that the clock was seen to make (s)."""
    steps = []
    for _ in range(1000):
        before = time.perf_counter_ns()
        while (now := time.perf_counter_ns()) == before:
            pass
        steps.append(now - before)
    return min(steps) / 1e9


def oversleep(seconds: float) -> Spread:
    """By how much a sleep of so many seconds is too long."""
    return spread([took - seconds for took in sample(lambda: time.sleep(seconds))])


def steadiness() -> Spread:
    """Times of the same work on one core."""

    def work() -> int:
        return sum(range(count))

    count = 1000
    while (took := min(sample(work, 0.01))) < WORK_SECONDS:
        count = int(count * max(1.1, min(10.0, WORK_SECONDS / took)))
    return spread(sample(work))


def memory_bandwidth(record_bytes: int) -> float:
    """Bytes per second of copying records in random order out of a slab that no cache holds."""
    import torch

    records = max(2, SLAB_BYTES // record_bytes)
    slab = torch.zeros(records, record_bytes, dtype=torch.uint8)
    slot = torch.empty(record_bytes, dtype=torch.uint8)
    order = random.Random(0)
    return record_bytes / statistics.median(sample(lambda: slot.copy_(slab[order.randrange(records)])))


def disk_bandwidth(file: Path, record_bytes: int) -> float | None:
    """Bytes per second of reading records that the page cache is asked to forget; None for a file smaller than one."""
    size = file.stat().st_size
    if size < record_bytes or not hasattr(os, "posix_fadvise"):
        return None
    buffer, order = bytearray(record_bytes), random.Random(0)
    descriptor = os.open(file, os.O_RDONLY)
    try:

        def read() -> float:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            start = time.perf_counter()
            os.preadv(descriptor, [buffer], order.randrange(size - record_bytes + 1))
            return time.perf_counter() - start

        times = [read() for _ in range(32)]
    finally:
        os.close(descriptor)
    return record_bytes / statistics.median(times)


def device_link(record_bytes: int, pinned: bool, device: str) -> float | None:
    """Bytes per second of copying records from host memory to a CUDA device, several in flight, out of a slab that no
    cache holds; None without a device.

    Args:
        device: as in `model.device`; the first device where that is a CPU.
    """
    import torch

    if not torch.cuda.is_available():
        return None
    place = torch.device(device if device.startswith("cuda") else "cuda:0")
    records = max(2 * IN_FLIGHT, SLAB_BYTES // record_bytes)
    slab = torch.zeros(records, record_bytes, dtype=torch.uint8, pin_memory=pinned)
    slots = torch.empty(IN_FLIGHT, record_bytes, dtype=torch.uint8, device=place)
    order = random.Random(0)

    def copy() -> None:
        for slot in slots:
            slot.copy_(slab[order.randrange(records)], non_blocking=True)
        torch.cuda.synchronize(place)

    return IN_FLIGHT * record_bytes / statistics.median(sample(copy))


def stolen_share(seconds: float = SECONDS) -> float | None:
    """Share of the processors' time that a hypervisor gave to others meanwhile; None where nobody says."""
    before = _processor_times()
    time.sleep(seconds)
    after = _processor_times()
    if before is None or after is None or (total := sum(after) - sum(before)) <= 0:
        return None
    return (after[7] - before[7]) / total


def _processor_times() -> list[int] | None:
    """User, nice, system, idle, iowait, irq, softirq, steal: ticks since the start."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return None
    times = [int(field) for field in first.split()[1:9]]
    return times if len(times) == 8 else None
