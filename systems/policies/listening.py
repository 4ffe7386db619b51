"""What a generation tells the parts of a system that predict, count or steer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Chosen = Sequence[Sequence[int]]
"""Experts per token, best first; tokens are rows x positions, rows first."""


class Listener:
    """Hears a generation; a part overrides what it cares about. Called by the computing thread, so be quick."""

    def begin(self, rows: int) -> None:
        """A batch of so many rows starts."""

    def reading(self, row: int) -> None:
        """The prompt of a row is about to be read; `routed` is about it until `decoding`."""

    def decoding(self) -> None:
        """All prompts are read; `routed` is about all rows from now on."""

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """The target's layer (ordinal) has routed; its own experts are ordered and not yet computed.

        Args:
            hidden: what the router read, for whoever asks other routers about it; opaque to policies.
            chosen: experts of each token.
        """

    def end_step(self) -> None:
        """A draft-verify cycle is over, hints have been forgotten."""

    def keep(self, rows: Sequence[int]) -> None:
        """The batch goes on with these rows only."""

    def end(self) -> None:
        """The batch is over."""

    def learn(self, on: bool) -> None:
        """The warm-up begins or ends; what is learned from it is fixed when it ends."""


class Listeners(Listener):
    """Several listeners as one."""

    def __init__(self, members: Sequence[Listener]) -> None:
        self._members = tuple(members)

    def begin(self, rows: int) -> None:
        """Tell all."""
        for member in self._members:
            member.begin(rows)

    def reading(self, row: int) -> None:
        """Tell all."""
        for member in self._members:
            member.reading(row)

    def decoding(self) -> None:
        """Tell all."""
        for member in self._members:
            member.decoding()

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Tell all."""
        for member in self._members:
            member.routed(layer, hidden, chosen)

    def end_step(self) -> None:
        """Tell all."""
        for member in self._members:
            member.end_step()

    def keep(self, rows: Sequence[int]) -> None:
        """Tell all."""
        for member in self._members:
            member.keep(rows)

    def end(self) -> None:
        """Tell all."""
        for member in self._members:
            member.end()

    def learn(self, on: bool) -> None:
        """Tell all."""
        for member in self._members:
            member.learn(on)
