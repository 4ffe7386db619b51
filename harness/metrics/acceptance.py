"""How drafts fare, all of it derived from one histogram of (drafted, accepted) per row and step.

Rate and length are different things under similar names: the rate is accepted / drafted, the length counts
the bonus token and is pooled over steps. By position, marginal means "of all steps", conditional "of the
steps whose previous draft was accepted"; some tools print one, some the other, both as "acceptance per
position".

The last step of a request drafts beyond what is wanted. What it throws away is in no output and in none of these: a
short request would have an acceptance length that its tokens never saw.
"""

from __future__ import annotations

from collections import Counter

from harness.metrics.base import Cell, Definition, Shown, Value
from harness.records.generation import Generation

MARGINAL = Definition(
    "acceptance_marginal@2", "-", "higher", "steps with at least i accepted / steps, none behind an output's end"
)
CONDITIONAL = Definition(
    "acceptance_conditional@2",
    "-",
    "higher",
    "steps with at least i accepted / those with i drafted and i - 1 accepted, none behind an output's end",
)
NO_DRAFT = "nothing was drafted"
NO_STEPS = "the system reports no steps"

Histogram = Counter[tuple[int, int]]


def histogram(generation: Generation) -> Histogram:
    """Count (drafted, accepted) over rows and steps; sparse, so that draft lengths may vary."""
    return Counter((drafted, accepted) for _, drafted, accepted in generation.accepted_by_row())


def _rate(generation: Generation) -> tuple[float, float]:
    counts = histogram(generation).items()
    return sum(a * n for (_, a), n in counts), sum(d * n for (d, _), n in counts)


def _length(generation: Generation) -> tuple[float, float]:
    counts = histogram(generation)
    return sum((1 + a) * n for (_, a), n in counts.items()), counts.total()


RATE = Definition(
    "acceptance_rate@2",
    "-",
    "higher",
    "accepted drafts / drafted, none behind an output's end",
    parts=_rate,
    shown=Shown("accept. rate", 3, place=20, brief="accept."),
    gated="counted",
)
LENGTH = Definition(
    "acceptance_length@2",
    "tokens",
    "higher",
    "1 + accepted / steps, pooled over steps, no draft behind an output's end: tokens that a step leaves in outputs",
    parts=_length,
    shown=Shown("length", 2, place=30),
)


def _at(generation: Generation, position: int) -> tuple[int, int, int]:
    """Row-steps that accepted at least `position` drafts, that could have, and all."""
    counts = histogram(generation)
    reached = sum(n for (_, a), n in counts.items() if a >= position)
    offered = sum(n for (d, a), n in counts.items() if d >= position and a >= position - 1)
    return reached, offered, counts.total()


def _by_position(cell: Cell, position: int) -> dict[str, Value]:
    def marginal(generation: Generation) -> tuple[float, float]:
        reached, _, steps = _at(generation, position)
        return reached, steps

    def conditional(generation: Generation) -> tuple[float, float]:
        reached, offered, _ = _at(generation, position)
        return reached, offered

    return {
        f"acceptance_marginal_{position}": MARGINAL.ratio(cell, marginal, NO_STEPS),
        f"acceptance_conditional_{position}": CONDITIONAL.ratio(
            cell, conditional, f"no step accepted {position - 1} drafts"
        ),
    }


def measure(cell: Cell) -> dict[str, Value]:
    """Rate, length, and both rates per draft position up to the longest draft seen."""
    drafted = [d for g in cell.generations for _, d, _ in g.accepted_by_row()]
    values = {
        "acceptance_rate": RATE.of(cell, NO_DRAFT),
        "acceptance_length": LENGTH.of(cell, NO_STEPS),
    }
    for position in range(1, max(drafted, default=0) + 1):
        values |= _by_position(cell, position)
    return values
