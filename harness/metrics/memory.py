"""Memory actually held. The peak of the process covers all systems of a comparison and is no system's own."""

from __future__ import annotations

from harness.metrics.base import Cell, Definition, Value

FAST = Definition(
    "peak_fast_bytes@1", "bytes", "lower", "fast memory beyond non-expert weights and KV: what is budgeted"
)
RSS = Definition("peak_rss@1", "bytes", "lower", "peak resident set of the process, shared by the compared systems")
DEVICE = Definition(
    "peak_device_bytes@1", "bytes", "lower", "most that the device's allocator gave the system: slots, KV, workspaces"
)


def measure(cell: Cell) -> dict[str, Value]:
    """Budgeted fast memory, the peak of the process, and on a device what its allocator gave."""
    rss = RSS.known(cell.peak_rss, 1) if cell.peak_rss else RSS.unknown("the platform does not report it")
    device = {} if cell.device_bytes is None else {"peak_device_bytes": DEVICE.known(cell.device_bytes, 1)}
    return {"peak_fast_bytes": FAST.known(cell.fast_bytes, 1), "peak_rss": rss, **device}
