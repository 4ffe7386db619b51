"""How far a system is from the possible: its TPOT over that of an oracle on the same prompts, budget and link.

An oracle knows the routing from a rehearsal; it drafts, computes and moves bytes as any system does. Two questions, two
numbers, so that neither is read as the other: how much better the same drafts could be served, by an oracle with the
same drafter and draft length that may compute where the system may; and how much better a token could be had at all, by
the fastest oracle of the run, whatever it drafts. Where drafting itself is the loss, the first is small and the second
is not.
"""

from __future__ import annotations

from harness.metrics.base import Definition, Value
from harness.metrics.pairing import Sides, ratio

SAME_DRAFT = Definition(
    "oracle_gap@2",
    "x",
    "lower",
    "pooled TPOT of the system / of the fastest oracle with its drafter and draft length that may compute where it may,"
    " paired over prompts",
)
ANY_DRAFT = Definition(
    "oracle_gap_any@1",
    "x",
    "lower",
    "pooled TPOT of the system / of the run's fastest oracle, with any draft or none, paired over prompts",
)
GAP = "oracle_gap"
ANY = "oracle_gap_any"


def between(definition: Definition, name: str, oracle: Sides, system: Sides) -> Value:
    """Gap of `system` to the oracle called `name`."""
    return ratio(definition, system, oracle, name, name)
