"""Who stays in fast memory: residency policies choose the victim when a slot is needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Residency(Protocol):
    """Order among resident experts. Ids are `layer ordinal * experts + expert`."""

    def admitted(self, expert: int) -> None:
        """An expert has been given a slot."""

    def used(self, expert: int) -> None:
        """A resident expert is about to be computed."""

    def evicted(self, expert: int) -> None:
        """An expert has lost its slot."""

    def victim(self, evictable: Callable[[int], bool]) -> int | None:
        """Return the expert to evict among those for which `evictable` holds, None if there is none."""


@dataclass(frozen=True, slots=True)
class LruOptions:
    """Options of `residency.part: lru`."""

    def build(self) -> Residency:
        """Return a fresh policy."""
        return Lru()


class Lru:
    """Least recently used, one recency order over all layers (Mixtral-Offloading, arXiv 2312.17238, keeps one
    per layer; a global order lets layers with less reuse lend their slots)."""

    def __init__(self) -> None:
        self._order: OrderedDict[int, None] = OrderedDict()

    def admitted(self, expert: int) -> None:
        """Enter as most recent."""
        self._order[expert] = None

    def used(self, expert: int) -> None:
        """Become most recent."""
        self._order.move_to_end(expert)

    def evicted(self, expert: int) -> None:
        """Leave the order."""
        del self._order[expert]

    def victim(self, evictable: Callable[[int], bool]) -> int | None:
        """Return the least recent evictable expert."""
        return next((expert for expert in self._order if evictable(expert)), None)
