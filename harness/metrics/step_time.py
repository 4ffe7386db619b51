"""Time of one draft-verify cycle: the physical event, of which TPOT is a quotient by luck of acceptance."""

from __future__ import annotations

from harness.metrics.base import Cell, Definition, Parts, Value
from harness.records.generation import Generation
from systems.api import SpanName

NO_STEPS = "the system reports no steps"


def _parts(generation: Generation) -> tuple[float, float]:
    return sum(step.seconds for step in generation.steps), len(generation.steps)


def _within(*names: SpanName) -> Parts:
    return lambda generation: (
        sum(step.spans.get(name, 0.0) for step in generation.steps for name in names),
        len(generation.steps),
    )


STEP_TIME = Definition("step_time@1", "s", "lower", "mean time of one draft + verify cycle of the batch", parts=_parts)
DRAFT_TIME = Definition(
    "draft_time@1", "s", "lower", "mean time drafting in a cycle of the batch", parts=_within("draft")
)
VERIFY_TIME = Definition(
    "verify_time@1",
    "s",
    "lower",
    "mean time of the target's forward in a cycle, waits for experts included",
    parts=_within("verify", "transfer"),
)


def measure(cell: Cell) -> dict[str, Value]:
    """Mean seconds per step, prefill excluded, and of its two halves."""
    return {definition.name: definition.of(cell, NO_STEPS) for definition in (STEP_TIME, DRAFT_TIME, VERIFY_TIME)}
