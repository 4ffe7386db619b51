"""Metrics: one idea per file, pure functions of a `Cell`."""

from __future__ import annotations

from harness.metrics import (
    acceptance,
    breakdown,
    correctness,
    coverage,
    experts,
    memory,
    stall,
    step_time,
    target_efficiency,
    theta,
    throughput,
    tpot,
    ttft,
)
from harness.metrics.base import Cell, Value

FAMILIES = (
    ttft, tpot, step_time, throughput, acceptance, experts, coverage, stall, breakdown, correctness, memory,
    target_efficiency, theta,
)  # fmt: skip


def measure(cell: Cell) -> dict[str, Value]:
    """Return every metric of one system by id, in the order of the table."""
    values: dict[str, Value] = {}
    for family in FAMILIES:
        values |= family.measure(cell)
    return values
