"""Tie or bug? What the target thinks of the tokens where an output left plain greedy decoding.

Exact arithmetic would never diverge. In floating point a batch of drafts is summed in another order than one token,
and where the target's two best logits are closer than rounding, either may win. Such a tie says nothing of the method;
anything else is a bug.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.5}
"""By the dtype of a run, what rounding may do to the difference of two logits, from below.

It grows with the size of logits (some 20) times the dtype's epsilon, over the layers: an output that leaves its
reference by more than this was not rounded but computed wrongly.
"""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first token of an output that is not the reference's.

    `token` is the output's there (None: it ended early). `best` and `second` are the target's two likeliest, `margin`
    the difference of their logits, and `gap` that of the best and of `token`: 0 where the output took the best.
    """

    id: str
    repeat: int
    position: int
    token: int | None
    best: int
    second: int
    margin: float
    gap: float | None

    def is_tie(self, dtype: str) -> bool:
        """Whether rounding in `dtype` explains it: the output took a token about as likely as the best."""
        return self.gap is not None and max(self.margin, self.gap) <= TOLERANCE[dtype]


def divergence(id: str, repeat: int, position: int, token: int | None, logits: Sequence[float]) -> Divergence:
    """Judge a token by the target's logits `(V,)` at its position."""
    best, second = heapq.nlargest(2, range(len(logits)), key=logits.__getitem__)
    gap = None if token is None else logits[best] - logits[token]
    return Divergence(id, repeat, position, token, best, second, logits[best] - logits[second], gap)
