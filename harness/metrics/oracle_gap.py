"""How far a system is from the possible: its TPOT over that of an oracle on the same prompts, budget and link.

An oracle knows the routing from a rehearsal; it drafts, computes and moves bytes as any system does. Prevents the
misreading of a gap to a bound of another kind: a system that drafts is held against the oracle with the same
drafter and draft length, and where the run has none, the definition id says that another one was taken.
"""

from __future__ import annotations

from harness.metrics.base import Definition, Value
from harness.metrics.pairing import Sides, ratio

SAME_DRAFT = Definition(
    "oracle_gap@1",
    "x",
    "lower",
    "pooled TPOT of the system / of the oracle with its drafter and draft length, paired over prompts",
)
FASTEST = Definition(
    "oracle_gap_fastest@1",
    "x",
    "lower",
    "pooled TPOT of the system / of the run's fastest oracle, as none drafts like it, paired over prompts",
)
GAP = "oracle_gap"


def measure(name: str, oracle: Sides, system: Sides, same_draft: bool) -> Value:
    """Gap of `system` to the oracle called `name`; `same_draft` says which of the two definitions it is."""
    return ratio(SAME_DRAFT if same_draft else FASTEST, system, oracle, name, name)
