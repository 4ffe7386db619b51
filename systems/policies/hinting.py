"""From predictions to orders: the one place through which every predictor reaches the expert cache."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from systems.policies.orders import Hint, Shape


class Prefetcher:
    """What takes hints: an expert cache."""

    def prefetch(self, layer: int, experts: Sequence[int]) -> int:
        """Order experts for a layer, besides what was ordered before; return how many were ordered anew."""
        raise NotImplementedError

    def plan(self, fetch: Sequence[Hint], hold: Sequence[Hint] = ()) -> int:
        """Order what `fetch` names, in place of all hints before; spare `hold` besides; return how many were ordered
        anew."""
        raise NotImplementedError


class Hinting:
    """Hands hints to the cache.

    Args:
        shuffled: exchange the experts of each layer by a fixed random permutation without fixed points. The
            control of every predictor: as many hints at the same moments, and nothing predicted.
    """

    def __init__(self, cache: Prefetcher, shape: Shape, shuffled: bool = False) -> None:
        self._cache = cache
        self._names = _derangements(shape) if shuffled else None
        self.on_order: Callable[[int, int], None] | None = None
        """Told the layer of a prefetch and how many experts it ordered."""

    def prefetch(self, layer: int, experts: Sequence[int]) -> int:
        """Order experts for a layer, besides what was ordered before; return how many were ordered anew."""
        ordered = self._cache.prefetch(layer, self._renamed(layer, experts))
        if self.on_order is not None:
            self.on_order(layer, ordered)
        return ordered

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
