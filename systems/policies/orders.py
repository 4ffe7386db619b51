"""The vocabulary that policies and runtimes share: what is wanted in fast memory, when, and how badly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

DEMAND: Final = 0
PREFETCH: Final = 1


@dataclass(frozen=True, slots=True)
class Shape:
    """What policies know of a system: MoE layers, experts per layer, slots in all.

    Expert ids are `layer ordinal * experts + expert`.
    """

    layers: int
    experts: int
    slots: int


class Hint(NamedTuple):
    """An expert that will probably be needed; a smaller `urgency` is fetched sooner."""

    urgency: float
    layer: int
    expert: int


class Order:
    """A transfer not yet started.

    `urgency` of a hint is by default the ordinal of the layer that will read the expert, the order in which
    verification gets there. `asked` is the time (s) of the order, `refused` that at which it was last refused a slot:
    it cannot start before either. `layer` is the layer that asks. `evicts` is the expert that has given it its slot, -1
    where the slot was empty.
    """

    __slots__ = ("asked", "evicts", "expert", "kind", "layer", "refused", "urgency")

    def __init__(self, kind: int, urgency: float, asked: float, expert: int, layer: int) -> None:
        self.kind, self.urgency, self.asked, self.expert, self.layer = kind, urgency, asked, expert, layer
        self.refused = 0.0
        self.evicts = -1
