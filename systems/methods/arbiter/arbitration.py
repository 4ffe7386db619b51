"""Transfers only where they pay: which hints are followed, and which experts are fetched while nobody asks.

Every expert that comes takes the slot of another, and holds up the link. With a host that computes what is missing, a
transfer saves what the host would take, not what it takes itself; so it is made if it ends before its expert is needed,
if that is likelier to be used than who gives way, and never while a demand waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from systems.methods.arbiter.value import Value
from systems.policies.hinting import LinkedCache, Prefetcher
from systems.policies.listening import Chosen, PhaseListener, distinct
from systems.policies.orders import Shape

SMOOTHING = 0.1
"""Weight of a new observation in the moving averages of times."""
SLOW = 0.01
"""That of an expert that was named or not: there are many."""


class Timetable:
    """When layers ask for their experts, learned from when they did.

    Args:
        now: the time (s).
    """

    def __init__(self, layers: int, now: Callable[[], float]) -> None:
        self._layers, self._now = layers, now
        self._layer = 0.0
        """Seconds from a layer's routing to the next one's."""
        self._drafting = 0.0
        """Seconds from a step's first hint to the first layer's routing."""
        self._at, self._last, self._hinted = -1, 0.0, -1.0

    @property
    def turn(self) -> float:
        """Seconds that a layer's turn takes to come again."""
        return self._drafting + self._layers * self._layer

    def due(self, layer: int) -> float:
        """When a layer will ask: in this forward if it is still to come, else in the next."""
        if self._at < 0:
            start = self._hinted if self._hinted >= 0 else self._now()
            return max(start + self._drafting, self._now()) + layer * self._layer
        ahead = layer - self._at
        return self._last + (ahead if ahead > 0 else ahead + self._layers) * self._layer

    def hinted(self) -> None:
        """A hint has come; the first one behind a forward begins the drafting."""
        if self._at < 0 and self._hinted < 0:
            self._hinted = self._now()

    def routed(self, layer: int) -> None:
        """A layer asks."""
        now = self._now()
        if layer == self._at + 1 and layer > 0:
            self._layer += (SMOOTHING if self._layer else 1.0) * (now - self._last - self._layer)
        elif layer == 0 and self._hinted >= 0:
            self._drafting += SMOOTHING * (now - self._hinted - self._drafting)
        self._at, self._last = layer, now

    def end_step(self) -> None:
        """The forward is over."""
        self._at, self._hinted = -1, -1.0


class Arbiter(PhaseListener):
    """Between whoever gives hints and the cache.

    Args:
        cache: takes what is admitted.
        residency: knows what experts are worth.
        transfer: seconds per expert over the link.
        hints: whether any hint is followed.
        promotions: whether an idle link fetches the absent expert of most value.
    """

    def __init__(
        self,
        cache: LinkedCache,
        residency: Value,
        shape: Shape,
        transfer: float,
        hints: bool = True,
        promotions: bool = True,
    ) -> None:
        super().__init__()
        self._cache, self._residency, self._shape = cache, residency, shape
        self._transfer, self.hints, self._promotions = transfer, hints, promotions
        self.timetable = Timetable(shape.layers, cache.now)
        self.look: Callable[[int, Any], None] = lambda layer, hidden: None
        """Hears what a layer's router read, and hints for the next layers."""
        self._named: list[dict[int, int]] = [{} for _ in range(shape.layers)]
        """Per layer the experts that were named in this step, and how many layers ahead; 0 while drafting."""
        self._right = [0.5, 0.5, 0.5]
        """Share of the experts that were named so far ahead which were needed."""
        self._layer = -1

    def prefetch(self, layer: int, experts: Sequence[int]) -> int:
        """Order those of a layer's experts that pay, and hold those that are there; return how many were ordered."""
        with self._cache.aside():
            self.timetable.hinted()
            far = 0 if self._layer < 0 else min(layer - self._layer, len(self._right) - 1)
            for expert in experts:
                self._named[layer].setdefault(expert, far)
            return self._cache.prefetch(layer, self._admitted(layer, experts, far)) if self.hints else 0

    def _admitted(self, layer: int, experts: Sequence[int], far: int) -> list[int]:
        """Those of a hint's experts that are there, or that are worth a transfer and come in time."""
        base = layer * self._shape.experts
        absent = set(self._cache.absent([base + expert for expert in experts]))
        left = self.timetable.due(layer) - self._cache.now() - self._cache.backlog()
        chance, wanted = self._right[far], list[int]()
        for expert in experts:
            if base + expert not in absent:
                wanted.append(expert)
            elif left >= self._transfer and self._pays(base + expert, chance):
                left -= self._transfer
                wanted.append(expert)
        return wanted

    def reaches(self, layer: int) -> bool:
        """Whether what is ordered now for a layer arrives before that asks."""
        left = self.timetable.due(layer) - self._cache.now()
        return self.hints and self._cache.backlog() + self._transfer <= left

    def absent(self, experts: Iterable[int]) -> list[int]:
        """Those of the expert ids that have no slot."""
        return self._cache.absent(experts)

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Learn how right the hints were, look ahead, and promote where that leaves the link idle."""
        if self._prefill:
            return
        with self._cache.aside():
            self.timetable.routed(layer)
            self._layer = layer
            needed, named = set(distinct(chosen)), self._named[layer]
            for expert, far in named.items():
                self._right[far] += SLOW * ((expert in needed) - self._right[far])
            named.clear()
        self.look(layer, hidden)
        with self._cache.aside():
            if self._promotions:
                self._promote()

    def end_step(self) -> None:
        """Hints are forgotten."""
        self._layer = -1
        self.timetable.end_step()
        for named in self._named:
            named.clear()

    def _promote(self) -> None:
        """Let an idle link fetch the absent expert that is worth most, if somebody is worth less."""
        if self._cache.backlog() > 0:
            return
        expert = self._residency.most(lambda other: False)
        if expert is not None and self._pays(expert, self._residency.chance(expert)):
            layer, local = divmod(expert, self._shape.experts)
            self._cache.prefetch(layer, [local])

    def _pays(self, expert: int, chance: float) -> bool:
        """Whether an expert that is needed with this chance is worth more than who would give way.

        The slot is used once before its turn, and then as long as slots last: as many forwards as the link takes to
        exchange all of them.
        """
        least = self._residency.least(lambda other: False)
        if least is None:
            return True
        lost, kept = self._residency.chance(least), self._residency.chance(expert)
        turn = self.timetable.turn
        lasts = self._residency.slots * self._transfer / turn if turn else 0.0
        return chance - lost + lasts * (kept - lost) > 0


class Arbitrated(Prefetcher):
    """A cache behind an arbiter, as whoever gives hints sees it."""

    def __init__(self, arbiter: Arbiter) -> None:
        self.arbiter = arbiter

    def prefetch(self, layer: int, experts: Sequence[int]) -> int:
        """Order what pays; see `Arbiter`."""
        return self.arbiter.prefetch(layer, experts)

    def absent(self, experts: Iterable[int]) -> list[int]:
        """Those of the expert ids that have no slot."""
        return self.arbiter.absent(experts)
