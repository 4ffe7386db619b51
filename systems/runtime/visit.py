"""How a layer gets the experts that it has ordered, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from systems.runtime.expert_cache import ExpertCache


class Visit:
    """Hands out the experts that a layer needs, those that are there first, while the others travel.

    A place is an index into the matrices of `slots`, valid until the next expert is asked for (of those that were there
    until the last of them).

    Args:
        base: id of the layer's first expert.
        present: ids of experts that are there, pinned.
        apart: pairs that are computed elsewhere.
        absent: ids of experts that are queued or on their way.
    """

    def __init__(
        self,
        cache: ExpertCache,
        base: int,
        present: list[int],
        apart: Iterator[tuple[int, int]] | None,
        absent: set[int],
    ) -> None:
        self._cache, self._base, self._apart, self._absent = cache, base, apart, absent
        self._present, self._turn = present, 0
        self._read = present
        """What is unpinned once it has been read."""
        self.place = -1
        """Where the last expert that was taken is."""

    def take(self) -> int:
        """Return the next expert of the layer; -1 when all have been read."""
        present, turn = self._present, self._turn
        if turn < len(present):
            self._turn = turn + 1
            return self._at(present[turn])
        if self._read:
            self._cache.unpin(self._read)
            self._read = []
        if self._apart is not None:
            for expert, place in self._apart:  # the next of them
                self.place = place
                return expert
        if not self._absent:
            return -1
        expert = self._cache.await_any(self._absent)
        self._absent.discard(expert)
        self._read = [expert]
        return self._at(expert)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield what is left, each expert with its place."""
        while (expert := self.take()) >= 0:
            yield expert, self.place

    def _at(self, expert: int) -> int:
        self.place = self._cache.slots.of[expert]
        return expert - self._base
