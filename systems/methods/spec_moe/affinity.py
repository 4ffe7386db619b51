"""SpecMoE's affinity routing (arXiv 2604.10152): who stands in for an expert that is not in fast memory.

An offline table orders the experts of a layer by the L2 distance of their weights; the paper does not say how ties and
collisions are settled. Here the choices that are resident stay, and each of the others, in the gate's order, goes to
the nearest resident that its token does not use yet. So a token always has as many experts as the gate chose, and with
as many residents as choices it uses all of them, as the paper has it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence

from systems.policies.orders import Shape

Residents = Callable[[int], Collection[int]]
"""Experts of a layer that may be used."""


class Affinity:
    """Stand-ins for absent experts.

    Args:
        nearest: `[layer][expert]` all experts of the layer, nearest first.
        residents: those that may stand in; fixed while `forget` is not called.
    """

    def __init__(self, nearest: Sequence[Sequence[Sequence[int]]], residents: Residents) -> None:
        self._nearest, self._residents = nearest, residents
        self._found: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._present: dict[int, frozenset[int]] = {}

    def forget(self) -> None:
        """The residents have changed."""
        self._found.clear()
        self._present.clear()

    def stand_ins(self, layer: int, chosen: Sequence[int]) -> tuple[int, ...]:
        """Return the experts that compute in place of a token's `chosen` ones, in their order."""
        key = (layer, *chosen)
        if key not in self._found:
            self._found[key] = self._replace(layer, chosen)
        return self._found[key]

    def _replace(self, layer: int, chosen: Sequence[int]) -> tuple[int, ...]:
        if layer not in self._present:
            self._present[layer] = frozenset(self._residents(layer))
        present = self._present[layer]
        used = present.intersection(chosen)
        found = []
        for expert in chosen:
            if expert not in present:
                expert = next(other for other in self._nearest[layer][expert] if other in present - used)
                used |= {expert}
            found.append(expert)
        return tuple(found)


def shuffled(shape: Shape) -> list[list[list[int]]]:
    """Return orders that know nothing of distances, in the place of the table: the control."""
    rng = random.Random(0)
    return [
        [rng.sample(range(shape.experts), shape.experts) for _ in range(shape.experts)] for _ in range(shape.layers)
    ]
