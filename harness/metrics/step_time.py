"""Time of one draft-verify cycle: the physical event, of which TPOT is a quotient by luck of acceptance."""

from __future__ import annotations

from harness.generation import Generation
from harness.metrics.base import Cell, Definition, Value

STEP_TIME = Definition("step_time@1", "s", "lower", "mean time of one draft + verify cycle of the batch")


def _parts(generation: Generation) -> tuple[float, float]:
    return sum(step.seconds for step in generation.steps), len(generation.steps)


def measure(cell: Cell) -> dict[str, Value]:
    """Mean seconds per step, prefill excluded."""
    return {"step_time": STEP_TIME.ratio(cell, _parts, "the system reports no steps")}
