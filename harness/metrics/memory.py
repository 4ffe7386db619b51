"""Memory actually held. The peak of the process covers all systems of a comparison and is no system's own."""

from __future__ import annotations

from harness.metrics.base import Cell, Definition, Value

FAST = Definition(
    "peak_fast_bytes@1", "bytes", "lower", "fast memory beyond non-expert weights and KV: what is budgeted"
)
RSS = Definition("peak_rss@1", "bytes", "lower", "peak resident set of the process, shared by the compared systems")


def measure(cell: Cell) -> dict[str, Value]:
    """Budgeted fast memory, and the peak of the process."""
    rss = RSS.known(cell.peak_rss, 1) if cell.peak_rss else RSS.unknown("the platform does not report it")
    return {"peak_fast_bytes": FAST.known(cell.fast_bytes, 1), "peak_rss": rss}
