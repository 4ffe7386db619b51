"""From predictions to orders: the one place through which every predictor reaches the expert cache."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from systems.policies.orders import Hint, Shape

Predict = Callable[[int, Any], list[int]]
"""Distinct experts that the router of a later layer (ordinal) would choose for what an earlier layer's router read."""


class Prefetcher:
    """What takes hints: an expert cache."""

    def prefetch(self, layer: int, experts: Sequence[int]) -> int:
        """Order experts for a layer, besides what was ordered before; return how many were ordered anew."""
        raise NotImplementedError

    def absent(self, experts: Iterable[int]) -> list[int]:
        """Those of the expert ids that have no slot, in their order."""
        raise NotImplementedError

    def plan(self, fetch: Sequence[Hint], hold: Sequence[Hint] = ()) -> int:
        """Order what `fetch` names, in place of all hints before; spare `hold` besides; return how many were ordered
        anew."""
        raise NotImplementedError

    def idle(self) -> bool:
        """Whether nothing is on its way, nor ordered."""
        raise NotImplementedError


class LinkedCache(Prefetcher):
    """One that tells how busy its link is."""

    def backlog(self) -> float:
        """Seconds until the link has carried all that is ordered."""
        raise NotImplementedError

    def now(self) -> float:
        """The time on the link's clock (s)."""
        raise NotImplementedError

    def aside(self) -> AbstractContextManager[None]:
        """What is decided inside is the business of a worker beside the computation."""
        raise NotImplementedError


class Hinting:
    """Hands hints to the cache.

    Args:
        shuffled: exchange the experts of each layer by a fixed random permutation without fixed points. The
            control of every predictor: as many hints at the same moments, and nothing predicted.
    """

    def __init__(self, cache: Prefetcher, shape: Shape, shuffled: bool = False) -> None:
        self._cache, self._experts = cache, shape.experts
        self._names = _derangements(shape) if shuffled else None
        self.on_hint: Callable[[int, Sequence[int]], None] | None = None
        """Told the layer of a hint and the experts that it names, there or not."""

    def prefetch(self, layer: int, experts: Sequence[int], most: int | None = None) -> int:
        """Order experts for a layer, besides what was ordered before; return how many were ordered anew.

        Args:
            most: of those that have no slot, order so many, the first ones; None: all.
        """
        named = self._renamed(layer, experts)
        if most is not None:
            surplus = self.absent(layer, named)[most:]
            named = [expert for expert in named if expert not in surplus]
        if self.on_hint is not None:
            self.on_hint(layer, named)
        return self._cache.prefetch(layer, named)

    def absent(self, layer: int, experts: Iterable[int]) -> list[int]:
        """Those of a layer's experts that have no slot, in their order."""
        base = layer * self._experts
        return [expert - base for expert in self._cache.absent(base + expert for expert in experts)]

    def idle(self) -> bool:
        """Whether the link has nothing to carry."""
        return self._cache.idle()

    def plan(self, fetch: Sequence[Hint], hold: Sequence[Hint] = ()) -> None:
        """Order what `fetch` names, in place of all hints before; let residency policies spare `hold` besides."""
        self._cache.plan(self._disguised(fetch), self._disguised(hold))

    def _disguised(self, hints: Sequence[Hint]) -> Sequence[Hint]:
        if self._names is None:
            return hints
        return [Hint(hint.urgency, hint.layer, self._names[hint.layer][hint.expert]) for hint in hints]

    def _renamed(self, layer: int, experts: Sequence[int]) -> Sequence[int]:
        if self._names is None:
            return experts
        names = self._names[layer]
        return [names[expert] for expert in experts]


def _derangements(shape: Shape) -> list[list[int]]:
    """Per layer a random cyclic permutation: no expert keeps its name."""
    rng = random.Random(0)
    tables = []
    for _ in range(shape.layers):
        cycle = rng.sample(range(shape.experts), shape.experts)
        table = [0] * shape.experts
        for expert, following in zip(cycle, cycle[1:] + cycle[:1], strict=True):
            table[expert] = following
        tables.append(table)
    return tables
