"""Tokens per second of steps by their draft length: what MoE-SpeQ's governor predicts and maximises (theta of k).

Prevents judging a governor by its average: a roofline that is wrong where it is not used still chooses wrongly.
"""

from __future__ import annotations

from functools import partial

from harness.metrics.base import Cell, Definition, Value
from harness.records.generation import Generation

THETA = Definition(
    "theta@2",
    "tokens/s",
    "higher",
    "tokens that steps which drafted k tokens leave in outputs / seconds of those steps",
)


def measure(cell: Cell) -> dict[str, Value]:
    """One value per draft length that occurred; none where nothing was drafted."""
    lengths = {max(step.drafted, default=0) for generation in cell.generations for step in generation.steps} - {0}
    return {
        f"theta_{length}": THETA.ratio(cell, partial(_parts, length), "no step drafted so many")
        for length in sorted(lengths)
    }


def _parts(length: int, generation: Generation) -> tuple[float, float]:
    both = zip(generation.steps, generation.kept_by_step(), strict=True)
    steps = [(step, kept) for step, kept in both if max(step.drafted, default=0) == length]
    tokens = sum(accepted + 1 for _, kept in steps for *_, accepted in kept)
    return tokens, sum(step.seconds for step, _ in steps)
