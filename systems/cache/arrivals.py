"""How a layer gets the experts that it has ordered, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from systems.cache.in_place import Elsewhere

if TYPE_CHECKING:
    from systems.cache.expert_cache import ExpertCache


class Visit:
    """Hands out the experts that a layer needs, those that are there first, while the others travel.

    A place is an index into the matrices of `slots`, valid until the next expert is asked for (of those that were there
    until the last of them).

    Args:
        base: id of the layer's first expert.
        present: ids of experts that are there, pinned.
        apart: ids of experts that are computed where they lie, by `host`.
        absent: ids of experts that are queued or on their way.
    """

    def __init__(
        self,
        cache: ExpertCache,
        base: int,
        present: list[int],
        apart: list[int],
        absent: set[int],
        host: Elsewhere | None,
    ) -> None:
        self._cache, self._base, self._absent, self._host = cache, base, absent, host
        self._present, self._turn = present, 0
        self._apart, self._apart_turn = apart, 0
        self._read = present
        """What is unpinned once it has been read."""
        self.place = -1
        """Where the last expert that was taken is."""

    @property
    def apart(self) -> bool:
        """Whether some are computed where they lie."""
        return bool(self._apart)

    def take(self) -> int:
        """Return the next expert of the layer; -1 when all have been read."""
        present, turn = self._present, self._turn
        if turn < len(present):
            self._turn = turn + 1
            return self._at(present[turn])
        if self._read:
            self._cache.unpin(self._read)
            self._read = []
        if self._apart and self._apart_turn <= len(self._apart) and (expert := self._take_apart()) >= 0:
            return expert
        if not self._absent:
            if self._apart:
                self._of_host().wait()
            return -1
        expert = self._cache.await_any(self._absent)
        self._absent.discard(expert)
        self._read = [expert]
        return self._at(expert)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield what is left, each expert with its place."""
        while (expert := self.take()) >= 0:
            yield expert, self.place

    def waves(self) -> Iterator[list[tuple[int, int]]]:
        """Yield what is left in groups, each of which may be read as a whole: the experts that are there, then every
        other by itself. What reads a group is submitted before the next is asked for."""
        while (expert := self.take()) >= 0:
            wave = [(expert, self.place)]
            while self._turn < len(self._present):
                wave.append((self.take(), self.place))
            yield wave

    def _of_host(self) -> Elsewhere:
        assert self._host is not None
        return self._host

    def _take_apart(self) -> int:
        """Return the next expert that the host computes; -1 when it has been given all."""
        turn, host = self._apart_turn, self._of_host()
        self._apart_turn = turn + 1
        if turn == 0:
            host.begin()
        if turn == len(self._apart):
            host.end()
            return -1
        expert = self._apart[turn]
        self.place = self._cache.slots.home_of(expert)
        return expert - self._base

    def _at(self, expert: int) -> int:
        self.place = self._cache.place(expert)
        return expert - self._base
