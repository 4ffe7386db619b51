"""Time per output token, what comes with the first commit excluded.

Prevents two misreadings: a TPOT that hides prefill in its numerator (some tools divide all time by all
tokens), and one that counts commits for tokens, which under speculation come several at a time.
"""

from __future__ import annotations

from harness.metrics.base import Cell, Definition, Value
from harness.records.generation import Generation

TOO_SHORT = "no request has tokens behind its first commit"


def parts(generation: Generation) -> tuple[float, float]:
    """Seconds from first to last commit summed over rows, and the tokens in between."""
    rows = [row for row in generation.rows if row.decode_tokens]
    return sum(row.decode_time for row in rows) / 1e9, sum(row.decode_tokens for row in rows)


def _mean_parts(generation: Generation) -> tuple[float, float]:
    own = [row.decode_time / row.decode_tokens for row in generation.rows if row.decode_tokens]
    return sum(own) / 1e9, len(own)


TPOT = Definition(
    "tpot@2",
    "s",
    "lower",
    "sum of (t_last - t_first) / sum of tokens behind the first commit, over requests with any",
    parts=parts,
    gated="timed",
)
TPOT_MEAN = Definition(
    "tpot_mean@2",
    "s",
    "lower",
    "mean over requests of (t_last - t_first) / tokens behind the first commit",
    parts=_mean_parts,
)


def measure(cell: Cell) -> dict[str, Value]:
    """Pooled TPOT, and the per-request mean that other tools print."""
    return {
        "tpot": TPOT.of(cell, TOO_SHORT),
        "tpot_mean": TPOT_MEAN.of(cell, TOO_SHORT),
    }
