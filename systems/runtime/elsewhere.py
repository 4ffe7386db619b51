"""Computing missing experts where they lie, in slow memory, instead of moving them (Fiddler, arXiv 2402.07033)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from systems.policies.placement import Placement
from systems.runtime.clock import Clock


class Elsewhere:
    """Slow memory as a place to compute in.

    The product runs on this machine's processor; on a paced link it ends no sooner than the named machine's
    would: `remote_token` seconds per token of an expert, one expert after the other, after those that came before.

    Args:
        first: the place of the first expert where it lies.
    """

    def __init__(self, first: int, placement: Placement, remote_token: float, clock: Clock) -> None:
        self._first = first
        self._placement, self._remote_token, self._clock = placement, remote_token, clock
        self._tokens: dict[int, int] = {}

    def choose(self, absent: Mapping[int, int]) -> list[int]:
        """Return those of the missing experts (expert to tokens) that are better computed than fetched."""
        away = self._placement.elsewhere(absent)
        self._tokens = {expert: absent[expert] for expert in away}
        return away

    def visit(self, base: int, experts: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield `(expert, place)`; the caller computes each before it asks for the next."""
        due = self._clock.now()
        for expert in experts:
            due += self._remote_token * self._tokens[expert]
            yield expert, self._first + base + expert
            self._clock.wait(due)
