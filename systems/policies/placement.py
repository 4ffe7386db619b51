"""Where a missing expert is computed: in fast memory after a transfer, or in slow memory at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CpuOptions:
    """`placement.part: cpu`: missing experts may be computed where they lie."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Fiddler's choice (arXiv 2402.07033): compute `tokens` rows in slow memory, or fetch the expert first.

    The released code adds both sides' times and takes the split with the least total; here both sides run at
    once, as the paper's text has it, so the split with the earliest end of the later side is taken.

    Attributes:
        remote_token: seconds per token of an expert computed in slow memory.
        transfer: seconds per expert over the link.
    """

    remote_token: float
    transfer: float

    def elsewhere(self, absent: Mapping[int, int]) -> list[int]:
        """Return the experts of `absent` (expert to tokens) to compute where they lie, fewest tokens first."""
        if not absent:
            return []
        order = sorted(absent, key=lambda expert: (absent[expert], expert))
        best, chosen = self.transfer * len(order), 0
        spent = 0.0
        for count, expert in enumerate(order, start=1):
            spent += self.remote_token * absent[expert]
            ends = max(spent, self.transfer * (len(order) - count))
            if ends < best:
                best, chosen = ends, count
        return order[:chosen]
