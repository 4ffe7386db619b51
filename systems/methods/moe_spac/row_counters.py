"""MoE-SpAc's utility of experts: counters moved by the rows of verifications (arXiv 2603.09983).

A verification of many drafted tokens tells how much demand there is for an expert, as one token cannot. Each expert has
a counter from 0 to 5, which a verification moves by one at most: up where the expert has at least five rows more than
the counter says, down where it has fewer rows than that. The counters are the only measure of who comes and who goes:
experts at or above the threshold are fetched, the highest counter first, and nobody makes room for one whose counter is
not higher than theirs. The paper finds the threshold by integer optimisation; the released code
(lshAlgorithm/MoE-SpAc @77bb9cf) has the constant 1, and so has the preset here. What is below it and has no slot is
computed in slow memory, beside the device.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from itertools import chain

from systems.policies.hinting import Hinting
from systems.policies.listening import Listener
from systems.policies.orders import DEMAND, Hint, Order, Shape
from systems.policies.residency import Evictable, Residency

HIGHEST = 5
"""Where counters end, as in the released code."""
SURPLUS = 5
"""Rows beyond its counter that raise an expert, as in the released code."""


class RowCounters(Residency):
    """The counters, and the residents in a queue per value: the lowest gives way, of equals the one queued first."""

    def __init__(self, shape: Shape) -> None:
        self._experts = shape.experts
        self.counters = [0] * (shape.layers * shape.experts)
        self._queues: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(HIGHEST + 1)]

    def admitted(self, expert: int) -> None:
        """Queue up, last of those with the same counter."""
        self._queues[self.counters[expert]][expert] = None

    def evicted(self, expert: int) -> None:
        """Leave the queue."""
        del self._queues[self.counters[expert]][expert]

    def needed(self, experts: Mapping[int, int]) -> None:
        """Move the counters of a layer by what a forward needs of it, of experts without rows, too."""
        first = next(iter(experts)) // self._experts * self._experts
        for expert in range(first, first + self._experts):
            counter = self.counters[expert]
            surplus = experts.get(expert, 0) - counter
            if surplus >= SURPLUS and counter < HIGHEST:
                self._move(expert, counter + 1)
            elif surplus < 0:
                self._move(expert, counter - 1)

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the expert with the lowest counter that may go, hinted or not; for a prefetch one with a lower counter
        than its own."""
        limit = HIGHEST + 1 if order.kind == DEMAND else self.counters[order.expert]
        return next((expert for expert in chain.from_iterable(self._queues[:limit]) if expert in evictable), None)

    def _move(self, expert: int, counter: int) -> None:
        """Set a counter; a resident changes its queue."""
        queue = self._queues[self.counters[expert]]
        self.counters[expert] = counter
        if expert in queue:
            del queue[expert]
            self._queues[counter][expert] = None


class CountedPrefetch(Listener):
    """Between two forwards, orders all experts from the threshold on that have no slot."""

    def __init__(self, counted: RowCounters, hinting: Hinting, shape: Shape, threshold: int) -> None:
        self._counted, self._hinting, self._shape, self._threshold = counted, hinting, shape, threshold

    def decoding(self) -> None:
        """What was ordered before the prompts was withdrawn for them: order it again."""
        self._plan()

    def end_step(self) -> None:
        """The counters have moved."""
        self._plan()

    def _plan(self) -> None:
        experts, counters = self._shape.experts, self._counted.counters
        worthy = [expert for expert, counter in enumerate(counters) if counter >= self._threshold]
        self._hinting.plan([Hint(HIGHEST - counters[expert], *divmod(expert, experts)) for expert in worthy])
