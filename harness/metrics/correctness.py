"""Did the timed outputs stay those of the target? Compared with plain greedy decoding, token by token."""

from __future__ import annotations

from harness.metrics.base import Cell, Definition, Shown, Value
from harness.records.generation import Generation, Row, first_divergence

EXACT_MATCH = Definition(
    "exact_match@1",
    "-",
    "higher",
    "outputs equal to plain greedy decoding / outputs, every repeat counted",
    shown=Shown("exact", 3, place=90, brief="exact"),
    gated="counted",
)
FIRST_DIVERGENCE = Definition(
    "first_divergence@1",
    "position",
    "higher",
    "earliest position at which an output leaves plain greedy decoding",
)


def measure(cell: Cell) -> dict[str, Value]:
    """Share of exact outputs and the earliest divergence."""
    reference = cell.reference
    if reference is None:
        reason = cell.no_reference
        return {
            "exact_match": EXACT_MATCH.unknown(reason),
            "first_divergence": FIRST_DIVERGENCE.unknown(reason),
        }

    def divergence(row: Row) -> int | None:
        return first_divergence(row.tokens, reference[row.id])

    def exact(generation: Generation) -> tuple[float, float]:
        return sum(divergence(row) is None for row in generation.rows), len(generation.rows)

    found = [d for g in cell.generations for row in g.rows if (d := divergence(row)) is not None]
    earliest = (
        FIRST_DIVERGENCE.known(min(found), len(found)) if found else FIRST_DIVERGENCE.unknown("no output diverged")
    )
    return {
        "exact_match": EXACT_MATCH.ratio(cell, exact, "nothing was generated"),
        "first_divergence": earliest,
    }
