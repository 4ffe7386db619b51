"""Share of what a verification needs that was foretold or there, whether or not it had come.

MoE-SpeQ's Table 3 (arXiv 2511.14102) counts so. A verification reads one token more than the draft has: the last one
drafted, of which no draft says what it needs. It is left out here, as the table must have left it out to come to
99.85 % with no more slots than one token's experts. Where nothing is drafted the one token counts.

It is no hit rate: what is named but still on its way, or has been evicted again, makes the layer wait all the same. The
two side by side tell a wrong prediction from a late transfer.
"""

from __future__ import annotations

from harness.metrics.base import Cell, Definition, Value
from harness.records.generation import Generation, needs


def _parts(generation: Generation) -> tuple[float, float]:
    counts = needs(generation.traffic("decode"))
    return counts["covered"], counts["foretold"]


COVERAGE = Definition(
    "coverage@2",
    "-",
    "higher",
    "(named by a hint of the step, or in a slot) / needed by tokens that the draft has read, when the router speaks, "
    "decode",
    parts=_parts,
)


def measure(cell: Cell) -> dict[str, Value]:
    """Coverage per forward of the target."""
    return {"coverage": COVERAGE.of(cell, "the system reports no expert needs")}
