"""Layers in a stream: at large batches most experts of a layer are needed, and which hardly changes between forwards.

SpecMoEOff (arXiv 2508.21706): the experts of layer i + 1 come in while layer i computes, all of them, since at its
batches all are used. Where batches leave some out, a transfer in vain costs as much as one that is missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from systems.policies.hinting import Hinting
from systems.policies.listening import Chosen, Listener
from systems.policies.orders import PREFETCH, Order, Shape
from systems.policies.residency import Evictable, Roster, spare_hinted

Absent = Callable[[Iterable[int]], list[int]]
"""Those of the expert ids that have no slot."""


class LayerStream(Listener):
    """Names the experts of the next `depth` layers, at every layer; those of the first ones while the draft runs.

    Every slot filled ahead of time is one less for what would have stayed, so no more is named than the link carries
    meanwhile.

    Args:
        recent: name what a layer needed in so many forwards before this one; None: all of it.
        carried: how many experts the link carries while a layer computes so many tokens.
        between: how many it carries between two forwards.
    """

    def __init__(
        self,
        hinting: Hinting,
        shape: Shape,
        depth: int,
        recent: int | None,
        absent: Absent,
        carried: Callable[[int], int],
        between: int,
    ) -> None:
        self._hinting, self._shape, self._depth, self._recent = hinting, shape, depth, recent
        self._absent, self._carried, self._between = absent, carried, between
        self._everything = frozenset(range(shape.experts))
        self._past: list[deque[frozenset[int]]] = [deque(maxlen=recent) for _ in range(shape.layers)]
        self._needed: list[set[int]] = [set() for _ in range(shape.layers)]
        self._reading = True

    def begin(self, rows: int) -> None:
        """Nothing is known of this batch."""
        for past in self._past:
            past.clear()

    def reading(self, first: int, lengths: Sequence[int]) -> None:
        """Prompts stream past the slots."""
        self._reading = True

    def decoding(self) -> None:
        """The first forward is next."""
        self._reading = False
        self._name(0, self._between)

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Note what the layer needs, and name what comes next."""
        if not self._reading:
            self._needed[layer].update(expert for token in chosen for expert in token)
            self._name(layer + 1, self._carried(len(chosen)))

    def end_step(self) -> None:
        """Begin again with the first layers."""
        for past, needed in zip(self._past, self._needed, strict=True):
            if needed:
                past.append(frozenset(needed))
            needed.clear()
        self._name(0, self._between)

    def _name(self, first: int, room: int) -> None:
        """Name the layers from `first` on, up to the one with the last missing expert that there is room for."""
        for layer in range(first, min(first + self._depth, self._shape.layers)):
            base, likely = layer * self._shape.experts, sorted(self._likely(layer))
            missing = [expert - base for expert in self._absent([base + expert for expert in likely])]
            beyond = set(missing[room:])
            self._hinting.prefetch(layer, [expert for expert in likely if expert not in beyond])
            room -= len(missing)
            if room <= 0:
                return

    def _likely(self, layer: int) -> frozenset[int]:
        past = self._past[layer]
        return self._everything if self._recent is None or not past else frozenset().union(*past)


class Streaming(Roster):
    """Belady's choice for layers that pass in a circle, each needing what it needed before.

    What a layer left out the last time goes first, then what has just been read, which is needed last. What the slots
    hold beyond the layer being read and those on their way then stays for good, where LRU would have evicted every
    expert just before its turn.

    Args:
        visits: how many micro-batches read each layer; before the last of them it may not go.
    """

    def __init__(self, shape: Shape, visits: int) -> None:
        super().__init__()
        self._experts, self._layers, self._visits = shape.experts, shape.layers, visits
        self._layer, self._seen = shape.layers - 1, visits
        self._needs: list[set[int]] = [set() for _ in range(shape.layers)]

    def needed(self, experts: Mapping[int, int]) -> None:
        """A micro-batch reads a layer; one that lags behind does not set the others back."""
        needs = set(experts)
        layer = min(needs) // self._experts
        ahead = (layer - self._layer) % self._layers
        if not ahead and self._seen < self._visits:
            self._seen += 1
        elif ahead <= self._layers // 2:
            self._layer, self._seen = layer, 1
            self._needs[layer].clear()
        self._needs[layer] |= needs

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the expert that is needed last; for a prefetch only one that is needed later than it."""
        ranked = sorted(self._order, key=self._distance, reverse=True)
        if order.kind == PREFETCH:
            own = self._ahead(order.expert)
            ranked = [expert for expert in ranked if self._distance(expert) > own]
        return spare_hinted(ranked, order, evictable, held)

    def _distance(self, expert: int) -> int:
        """Layers until an expert is needed; beyond a whole round where its layer left it out the last time."""
        ahead = self._ahead(expert)
        left_out = expert not in self._needs[expert // self._experts]
        return ahead + self._layers if ahead and left_out else ahead

    def _ahead(self, expert: int) -> int:
        """Layers until an expert's layer is read; 0 while it is."""
        ahead = (expert // self._experts - self._layer) % self._layers
        return ahead if ahead or self._seen < self._visits else self._layers
