"""What a generation tells the parts of a system that predict, count or steer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Chosen = Sequence[Sequence[int]]
"""Experts per token, best first; tokens are rows x positions, rows first."""


def distinct(chosen: Chosen) -> list[int]:
    """Distinct experts in the order of first mention; one token names none twice."""
    if len(chosen) == 1:
        return list(chosen[0])
    found: dict[int, None] = {}
    for token in chosen:
        for expert in token:
            found[expert] = None
    return list(found)


def drafted(chosen: Chosen, width: int) -> list[int] | None:
    """Distinct experts of the tokens that a draft has read before verification does: of rows of `width` tokens all but
    every row's last, which is the last one drafted. None where nothing is drafted and rows have one token.
    """
    if width == 1:
        return None
    return distinct([token for place, token in enumerate(chosen) if (place + 1) % width])


class Listener:
    """Hears a generation; a part overrides what it cares about. Called by the computing thread, so be quick."""

    def begin(self, rows: int) -> None:
        """A batch of so many rows starts."""

    def join(self, rows: int) -> None:
        """So many rows come behind the present ones; `reading`, `routed` and `decoding` follow as for the first."""

    def reading(self, first: int, lengths: Sequence[int]) -> None:
        """The prompts of the rows from `first` on, of so many tokens, are about to be read together; `routed` is about
        them, one behind the other, until the next ones are or `decoding`."""

    def decoding(self) -> None:
        """All prompts are read and all hints forgotten; `routed` is about all rows from now on."""

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """The target's layer (ordinal) has routed; its own experts are ordered and not yet computed.

        Args:
            hidden: what the router read, for whoever asks other routers about it; opaque to policies.
            chosen: experts of each token.
        """

    def end_step(self) -> None:
        """A draft-verify cycle is over, hints have been forgotten."""

    def keep(self, rows: Sequence[int]) -> None:
        """The batch goes on with these rows, in this order."""

    def end(self) -> None:
        """The batch is over."""

    def learn(self, on: bool) -> None:
        """The warm-up begins or ends; what is learned from it is fixed when it ends."""


class PhaseListener(Listener):
    """Knows whether prompts are being read, which stream past the slots: most predictors have no business with them."""

    def __init__(self) -> None:
        self._prefill = True

    def reading(self, first: int, lengths: Sequence[int]) -> None:
        """Prompts."""
        self._prefill = True

    def decoding(self) -> None:
        """No prompts any more."""
        self._prefill = False


class Rehearsing(PhaseListener):
    """Knows a generation that it has heard before."""

    def rehearse(self) -> None:
        """Record the next generation."""
        raise NotImplementedError

    def perform(self, starts: Sequence[Sequence[int]]) -> Sequence[int]:
        """Follow what was recorded in the next generation; return with which of these residents it is to start."""
        raise NotImplementedError
