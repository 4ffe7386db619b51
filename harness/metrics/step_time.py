"""Time of one draft-verify cycle: the physical event, of which TPOT is a quotient by luck of acceptance."""

from __future__ import annotations

from harness.metrics.base import Cell, Definition, Parts, Value
from harness.records.generation import Generation
from systems.api import SpanName

STEP_TIME = Definition("step_time@1", "s", "lower", "mean time of one draft + verify cycle of the batch")
DRAFT_TIME = Definition("draft_time@1", "s", "lower", "mean time drafting in a cycle of the batch")
VERIFY_TIME = Definition(
    "verify_time@1",
    "s",
    "lower",
    "mean time of the target's forward in a cycle, waits for experts included",
)
NO_STEPS = "the system reports no steps"


def _parts(generation: Generation) -> tuple[float, float]:
    return sum(step.seconds for step in generation.steps), len(generation.steps)


def _within(*names: SpanName) -> Parts:
    return lambda generation: (
        sum(step.spans.get(name, 0.0) for step in generation.steps for name in names),
        len(generation.steps),
    )


def measure(cell: Cell) -> dict[str, Value]:
    """Mean seconds per step, prefill excluded, and of its two halves."""
    return {
        "step_time": STEP_TIME.ratio(cell, _parts, NO_STEPS),
        "draft_time": DRAFT_TIME.ratio(cell, _within("draft"), NO_STEPS),
        "verify_time": VERIFY_TIME.ratio(cell, _within("verify", "transfer"), NO_STEPS),
    }
