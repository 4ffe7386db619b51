"""Two systems on the same prompts: only those that both finished with two tokens or more."""

from __future__ import annotations

from collections.abc import Mapping

from harness.metrics.base import Definition, Value
from harness.metrics.intervals import Pair, paired_interval

Sides = Mapping[int, Pair]
"""Seconds and tokens by batch of prompts."""


def shared(one: Sides, other: Sides) -> list[tuple[Pair, Pair]]:
    """Return both sides of every batch that both have, in the order of batches."""
    return [(one[b], other[b]) for b in sorted(one) if b in other and one[b][1] and other[b][1]]


def ratio(definition: Definition, up: Sides, down: Sides, other: str, over: str | None = None) -> Value:
    """Return pooled TPOT of `up` / pooled TPOT of `down`, with its interval over batches of prompts.

    Args:
        other: the system compared with, as the reason for an unknown names it.
        over: the same name, where the record has to say it.
    """
    pairs = shared(up, down)
    if not pairs:
        return definition.unknown(f"no prompt was finished by both this system and {other}")
    value, low, high = paired_interval([one for one, _ in pairs], [two for _, two in pairs])
    return definition.known(value, len(pairs), low, high, over)
