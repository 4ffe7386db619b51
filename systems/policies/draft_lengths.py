"""The draft length at run time: chosen for every step from what steps have brought, or by how long prefixes are.

SpecMoEOff (arXiv 2508.21706) lets it follow the prefixes, with which the cost of attending from a drafted token grows:
it is high while they are short, lower as they grow, higher again as rows leave.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence


class DraftGovernor:
    """Chooses how many tokens each step drafts, whoever drafts them; none is among the choices."""

    def learn(self, on: bool) -> None:
        """The warm-up begins or ends."""

    def choose(self) -> int:
        """Return the most tokens per row that the next step drafts; 0 decodes plainly."""
        raise NotImplementedError

    def observe(self, drafted: Sequence[int], accepted: Sequence[int], seconds: float) -> None:
        """Learn from the step that was chosen for: tokens drafted and accepted per row, and what all of it took."""
        raise NotImplementedError

    def describe(self) -> dict[str, object]:
        """What it has learned and chosen, for the record."""
        raise NotImplementedError


class DraftLengths:
    """Draft lengths by the positions of all rows together.

    Args:
        table: from so many positions on, so many tokens; 0 is among its keys.
    """

    def __init__(self, table: Mapping[int, int]) -> None:
        self._from = sorted(table)
        self._lengths = [table[positions] for positions in self._from]

    def __call__(self, positions: int) -> int:
        """Return the draft length for so many positions."""
        return self._lengths[bisect_right(self._from, positions) - 1]
