"""Time to first token. Prefill streams experts too; its time must not be folded into TPOT."""

from __future__ import annotations

from harness.metrics.base import Cell, Definition, Value
from harness.records.generation import Generation


def _parts(generation: Generation) -> tuple[float, float]:
    first = [row.commits[0].time - generation.started for row in generation.rows if row.commits]
    return sum(first) / 1e9, len(first)


TTFT = Definition(
    "ttft@1",
    "s",
    "lower",
    "first committed token - start of its batch, mean over requests",
    parts=_parts,
    gated="timed",
)


def measure(cell: Cell) -> dict[str, Value]:
    """Mean seconds from the start of a batch to the first token of each of its requests."""
    return {"ttft": TTFT.of(cell, "no token was committed")}
