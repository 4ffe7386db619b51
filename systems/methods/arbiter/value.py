"""Residency by value: who is least likely to be used when its layer's turn comes again goes first.

A miss costs what the best placement makes of it, which is the same for all experts of a model: they have one size, and
the host reads each once. So the order by expected uses is the order by expected seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from systems.contract.options import require
from systems.policies.orders import DEMAND, Order, Shape
from systems.policies.residency import Evictable, Residency

LARGE = 1e100
"""Above that weight all scores are scaled down."""


@dataclass(frozen=True, slots=True)
class ValueOptions:
    """`residency.part: value`: who is expected to be used least goes.

    A use weighs `decay` times as much after each forward. With `prior` the warm-up's popularity is where the counts of
    a generation start from, without they start from nothing.
    """

    decay: float = 0.98
    prior: bool = True

    def __post_init__(self) -> None:
        require(0 < self.decay < 1, "residency.decay", self.decay, "between 0 and 1")

    def build(self, shape: Shape) -> Residency:
        """Make the policy."""
        return Value(shape, self.decay, self.prior)


class Value(Residency):
    """Counts in how many forwards each expert is used, old ones for less.

    Instead of letting all scores decay, a new use counts for more: the order among experts changes only by uses, so
    that a heap keeps it.

    Args:
        decay: weight of a use after one forward.
        prior: whether the warm-up's popularity outlives its uses.
    """

    def __init__(self, shape: Shape, decay: float, prior: bool) -> None:
        self._shape, self._decay, self._prior = shape, decay, prior
        self.slots = shape.slots
        count = shape.layers * shape.experts
        self._scores = [0.0] * count
        self._uses = [0] * count
        """In the warm-up."""
        self._forwards = 0
        self._weight, self._layer, self._learning = 1.0, shape.layers, False
        self._resident = [False] * count
        self._least = _Ranking(self._scores, 1.0, lambda expert: self._resident[expert])
        self._most = _Ranking(self._scores, -1.0, lambda expert: not self._resident[expert])

    def chance(self, expert: int) -> float:
        """Chance that an expert is used in a forward, as its uses have it."""
        return self._scores[expert] / self._weight * (1 - self._decay)

    def least(self, passed: Callable[[int], bool]) -> int | None:
        """The resident of least value that is not `passed` over."""
        return self._least.first(passed)

    def most(self, passed: Callable[[int], bool]) -> int | None:
        """The absent expert of most value, among those that were ever used, that is not `passed` over."""
        return self._most.first(passed)

    def admitted(self, expert: int) -> None:
        """Enter."""
        self._resident[expert] = True
        self._least.push(expert)

    def evicted(self, expert: int) -> None:
        """Leave."""
        self._resident[expert] = False
        self._most.push(expert)

    def resized(self, slots: int) -> None:
        """So many are favourites."""
        self.slots = slots

    def needed(self, experts: Mapping[int, int]) -> None:
        """Count; a forward begins where layers do not go on."""
        layer = next(iter(experts)) // self._shape.experts
        if layer <= self._layer:
            self._age()
        self._layer = layer
        for expert in experts:
            self._scores[expert] += self._weight
            self._uses[expert] += self._learning
            (self._least if self._resident[expert] else self._most).push(expert)

    def learn(self, on: bool) -> None:
        """Count the warm-up; when it ends, start from what it has shown."""
        self._learning = on
        if on or not self._prior or not self._forwards:
            return
        for expert, uses in enumerate(self._uses):
            self._scores[expert] = self._weight / (1 - self._decay) * uses / self._forwards
        self._rebuild()

    def favourites(self) -> list[int]:
        """The most popular experts of the warm-up, as many as there are slots."""
        if not self._prior or not self._forwards or self._learning:
            return []
        popular = sorted(range(len(self._uses)), key=lambda expert: -self._uses[expert])
        return [expert for expert in popular[: self.slots] if self._uses[expert]]

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the least valuable expert that may go, one that a hint names last and for a demand only."""
        chosen = self.least(lambda expert: expert in held or expert not in evictable)
        if chosen is None and order.kind == DEMAND:
            chosen = self.least(lambda expert: expert not in evictable)
        return chosen

    def _age(self) -> None:
        """A forward begins."""
        self._forwards += self._learning
        self._weight /= self._decay
        if self._weight > LARGE:
            self._scores[:] = [score / self._weight for score in self._scores]
            self._weight = 1.0
            self._rebuild()

    def _rebuild(self) -> None:
        for ranking in (self._least, self._most):
            ranking.rebuild()


class _Ranking:
    """Experts by score, pushed anew whenever theirs changes.

    Args:
        sign: 1 for the least first, -1 for the greatest.
        belongs: whether an expert is ranked here now.
    """

    def __init__(self, scores: list[float], sign: float, belongs: Callable[[int], bool]) -> None:
        self._scores, self._sign, self._belongs = scores, sign, belongs
        self._heap: list[tuple[float, int]] = []

    def push(self, expert: int) -> None:
        """An expert belongs here with the score that it has now."""
        heapq.heappush(self._heap, (self._sign * self._scores[expert], expert))
        if len(self._heap) > 4 * len(self._scores):
            self.rebuild()

    def rebuild(self) -> None:
        """Rank all who belong here by the scores that they have now."""
        belonging = [expert for expert in range(len(self._scores)) if self._belongs(expert)]
        self._heap = [(self._sign * self._scores[expert], expert) for expert in belonging]
        heapq.heapify(self._heap)

    def first(self, passed: Callable[[int], bool]) -> int | None:
        """Return the first expert that is not `passed` over, who stays; None where there is none."""
        heap, kept, found = self._heap, set[tuple[float, int]](), None
        while heap and found is None:
            entry = heapq.heappop(heap)
            score, expert = entry
            if entry in kept or score != self._sign * self._scores[expert] or not self._belongs(expert):
                continue  # it has changed since, or was pushed twice
            kept.add(entry)
            found = None if passed(expert) else expert
        for entry in kept:
            heapq.heappush(heap, entry)
        return found
