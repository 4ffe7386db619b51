"""A fixed number of experts per layer stays: SpecMoE's draft experts (arXiv 2604.10152), and its caching baseline.

Which ones, is chosen by how often a layer's tokens use them. A layer's routing of a round is known before its experts
travel, so the choice is made then: who is chosen and missing is fetched for the round anyway, and stays; who is not
gives way. Repinning moves no byte of its own.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Literal

from systems.policies.orders import Order, Shape
from systems.policies.residency import Evictable, Roster, spare_hinted

Choice = Literal["hot_temporal", "hot_global", "random"]


class PinnedExperts(Roster):
    """Pins `per_layer` experts in every layer; all others share what slots are left, least recently used.

    Args:
        choice: `hot_temporal`: most used in the round; `hot_global`: most used in the warm-up, for good; `random`:
            drawn from those used in the round.
    """

    def __init__(self, shape: Shape, per_layer: int, choice: Choice) -> None:
        super().__init__()
        self._shape, self._per_layer, self._choice = shape, per_layer, choice
        self._pinned = [list(range(per_layer)) for _ in range(shape.layers)]
        self._uses = [Counter[int]() for _ in range(shape.layers)]
        self._learning = False
        self._random = random.Random(0)

    def pinned(self, layer: int) -> Sequence[int]:
        """Experts of a layer that stay."""
        return self._pinned[layer]

    def needed(self, experts: Mapping[int, int]) -> None:
        """Choose anew who stays in the layer, by the tokens that use each."""
        layer, base = self._place(experts)
        tokens = {expert - base: count for expert, count in experts.items()}
        if self._learning:
            self._uses[layer].update(tokens)
        if self._choice == "hot_temporal":
            self._pin(layer, sorted(tokens, key=lambda expert: (-tokens[expert], expert not in self._pinned[layer])))
        elif self._choice == "random":
            self._pin(layer, self._random.sample(sorted(tokens), len(tokens)))

    def used(self, expert: int) -> None:
        """Become most recent."""
        self._order.move_to_end(expert)

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the least recent expert that is not pinned and may go; who is pinned never goes."""
        return spare_hinted((e for e in self._order if not self._stays(e)), order, evictable, held)

    def learn(self, on: bool) -> None:
        """Count during the warm-up; `hot_global` then chooses for good."""
        self._learning = on
        if not on and self._choice == "hot_global":
            for layer, uses in enumerate(self._uses):
                self._pin(layer, [expert for expert, _ in uses.most_common()])

    def favourites(self) -> list[int]:
        """All who stay: with them the system starts."""
        experts = self._shape.experts
        return list(chain.from_iterable((layer * experts + e for e in p) for layer, p in enumerate(self._pinned)))

    def _pin(self, layer: int, ranked: Sequence[int]) -> None:
        """Pin the first of `ranked`; where they are too few, those who were pinned before."""
        order = dict.fromkeys(chain(ranked, self._pinned[layer]))
        self._pinned[layer] = list(order)[: self._per_layer]

    def _stays(self, expert: int) -> bool:
        layer, number = divmod(expert, self._shape.experts)
        return number in self._pinned[layer]

    def _place(self, experts: Mapping[int, int]) -> tuple[int, int]:
        layer = next(iter(experts)) // self._shape.experts
        return layer, layer * self._shape.experts
