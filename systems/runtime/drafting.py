"""What the decode loop asks of a drafter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from systems.modeling.decoder import Decoder
from systems.runtime.sampling import Chooser


@dataclass(frozen=True, slots=True)
class Draft:
    """Proposed tokens `(B, gamma)` and, when sampling, their distributions `(B, gamma, V)`.

    `lengths` holds how many of a row's tokens are proposals, where rows differ; what follows them is padding.
    `foreseen` says whether the draft alone would have gone on like that, had it not waited for the verification.
    """

    tokens: Tensor
    probabilities: Tensor | None = None
    lengths: tuple[int, ...] | None = None
    foreseen: bool = False


def nothing(rows: int, device: torch.device) -> Draft:
    """Return the draft of no token in any of the rows."""
    return Draft(torch.empty(rows, 0, dtype=torch.long, device=device))


class Drafter(Protocol):
    """Proposes tokens for a batch of rows."""

    @property
    def draft_length(self) -> int:
        """Most tokens it proposes per step (gamma)."""

    @property
    def fast_bytes(self) -> int:
        """Fast memory it occupies, paid from the budget (bytes)."""

    def begin(self, prompts: Sequence[Sequence[int]], target: Decoder) -> None:
        """Read the prompts of a new batch, which `target` has read; rows may grow to its capacity."""

    def join(self, prompts: Sequence[Sequence[int]]) -> None:
        """Read the prompts of rows that come behind the present ones; the target has read them."""

    def propose(self, chooser: Chooser, length: int) -> Draft:
        """Propose up to `length` tokens per row, `draft_length` at most and maybe none, after those observed so far."""

    def observe(self, row: int, tokens: Sequence[int]) -> None:
        """Tokens have become final in a row, the accepted ones of the last proposal among them."""

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order."""

    def end(self) -> None:
        """The batch is over."""


@dataclass(frozen=True, slots=True)
class NoDrafter:
    """Plain decoding: proposes nothing."""

    device: torch.device
    draft_length: int = 0
    fast_bytes: int = 0

    def begin(self, prompts: Sequence[Sequence[int]], target: Decoder) -> None:
        """Nothing to read."""

    def join(self, prompts: Sequence[Sequence[int]]) -> None:
        """Nothing to read."""

    def propose(self, chooser: Chooser, length: int) -> Draft:
        """Propose no token."""
        return nothing(1, self.device)

    def observe(self, row: int, tokens: Sequence[int]) -> None:
        """Nothing to remember."""

    def keep(self, rows: Sequence[int]) -> None:
        """Nothing to drop."""

    def end(self) -> None:
        """Nothing to end."""
