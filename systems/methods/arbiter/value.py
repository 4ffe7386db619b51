"""Residency by value: who is least likely to be used when its layer's turn comes again goes first.

A miss costs what the best placement makes of it, which is the same for all experts of a model: they have one size, and
the host reads each once. So the order by expected uses is the order by expected seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence

from systems.policies.orders import DEMAND, Order, Shape
from systems.policies.residency import Evictable, Residency

LARGE = 1e100
"""Above that weight all scores are scaled down."""
DECAYS = (0.9, 0.95, 0.99, 0.995)
"""Those that `auto` chooses from."""


class Counts:
    """In how many forwards each expert is used, old ones for less.

    Instead of letting all scores decay, a new use counts for more: the order among experts changes only by uses, so
    that a heap keeps it.

    Attributes:
        total: the score of an expert that was used in every forward.
        error: how badly the counts have foretold the uses so far: the sum of squared differences between the chance of
            each use and what came (Brier's score), less what is the same for all decays.
    """

    def __init__(self, shape: Shape, decay: float) -> None:
        self.decay, self.scores = decay, [0.0] * (shape.layers * shape.experts)
        self._weight, self.total = 1.0, 0.0
        self.error = 0.0
        self._squares = [0.0] * shape.layers
        """Per layer the sum of its squared scores."""

    def age(self) -> bool:
        """A forward begins; return whether all scores were scaled."""
        self._weight /= self.decay
        self.total += self._weight
        if self._weight < LARGE:
            return False
        self.scores[:] = [score / self._weight for score in self.scores]
        self._squares = [square / self._weight**2 for square in self._squares]
        self.total /= self._weight
        self._weight = 1.0
        return True

    def score(self, layer: int, experts: Collection[int]) -> None:
        """Hold the chances of a layer's experts against what is used."""
        if (before := self.total - self._weight) > 0:
            used = sum(self.scores[expert] for expert in experts)
            self.error += self._squares[layer] / before**2 - 2 * used / before

    def count(self, layer: int, experts: Collection[int]) -> None:
        """Count uses."""
        for expert in experts:
            score = self.scores[expert]
            self._squares[layer] += (2 * score + self._weight) * self._weight
            self.scores[expert] = score + self._weight


class Value(Residency):
    """Evicts who is least likely to be used in the next forward, as its uses have it.

    Args:
        decays: to choose from in the warm-up; up to its end the last one counts.
        prior: whether the warm-up's popularity outlives its uses.
    """

    def __init__(self, shape: Shape, decays: Sequence[float], prior: bool) -> None:
        self._shape, self._prior = shape, prior
        self.slots = shape.slots
        self._tried = [Counts(shape, decay) for decay in decays]
        count = shape.layers * shape.experts
        self._uses = [0] * count
        """In the warm-up."""
        self._forwards, self._layer, self._learning = 0, shape.layers, False
        self._resident = [False] * count
        self._follow(self._tried[-1])

    @property
    def decay(self) -> float:
        """The decay in force."""
        return self._counts.decay

    def chance(self, expert: int) -> float:
        """Chance that an expert is used in a forward, as its uses have it."""
        return self._counts.scores[expert] / self._counts.total if self._counts.total else 0.0

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
            self._begin()
        self._layer = layer
        for counts in self._tried if self._learning else [self._counts]:
            if self._learning:
                counts.score(layer, experts)
            counts.count(layer, experts)
        for expert in experts:
            self._uses[expert] += self._learning
            (self._least if self._resident[expert] else self._most).push(expert)

    def learn(self, on: bool) -> None:
        """Count the warm-up; when it ends, choose a decay, and start from what the warm-up has shown."""
        self._learning = on
        if on or not self._forwards:
            return
        best = min(self._tried, key=lambda counts: counts.error)
        if self._prior:
            for expert, uses in enumerate(self._uses):
                best.scores[expert] = uses / self._forwards * best.total
        self._follow(best)

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

    def describe(self) -> dict[str, object]:
        """What was chosen, for the record."""
        return {"decay": self.decay}

    def _begin(self) -> None:
        """A forward begins."""
        self._forwards += self._learning
        for counts in self._tried if self._learning else [self._counts]:
            if counts.age() and counts is self._counts:
                self._least.rebuild()
                self._most.rebuild()

    def _follow(self, counts: Counts) -> None:
        """Rank by these counts from now on."""
        self._counts, resident = counts, self._resident
        self._least = _Ranking(counts.scores, 1.0, lambda expert: resident[expert])
        self._most = _Ranking(counts.scores, -1.0, lambda expert: counts.scores[expert] > 0 and not resident[expert])
        self._least.rebuild()
        self._most.rebuild()


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
