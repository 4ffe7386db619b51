"""The draft length at run time: high while prefixes are short, lower as they grow, higher again as rows leave.

SpecMoEOff (arXiv 2508.21706) lets it follow the prefixes, with which the cost of attending from a drafted token grows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping


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
