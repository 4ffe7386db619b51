"""Where tokens are routed, as cache and listeners ask for it: worked out once, read by every cell of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from systems.policies.listening import Chosen, distinct, drafted


class Ahead:
    """Stands for what a layer's router read: knows what the next layers' routers would say to it.

    Args:
        rows: per row and position the gates' choices, `[layer][layers ahead - 1]`.
    """

    __slots__ = ("_layer", "_rows", "_said")

    def __init__(self, layer: int, rows: Sequence[Any]) -> None:
        self._layer, self._rows = layer, rows
        self._said: dict[int, list[int]] = {}

    def at(self, layer: int) -> list[int]:
        """Distinct experts that the router of a later layer would choose."""
        if layer not in self._said:
            self._said[layer] = distinct([token[self._layer][layer - self._layer - 1] for token in self._rows])
        return self._said[layer]


class Routing:
    """One layer of a forward.

    Attributes:
        chosen: experts per token.
        needed: distinct experts, ascending, and how many tokens choose each.
        drafted: those of tokens that a draft has read, of rows of `width`; see `systems.policies.listening.drafted`.
        ahead: stands for what the router read; None where nobody is to ask, as in a prompt.
    """

    __slots__ = ("ahead", "chosen", "drafted", "needed")

    def __init__(self, chosen: Chosen, ahead: Ahead | None, width: int = 1) -> None:
        counts: dict[int, int] = {}
        for token in chosen:
            for expert in token:
                counts[expert] = counts.get(expert, 0) + 1
        self.chosen, self.ahead = chosen, ahead
        self.needed = {expert: counts[expert] for expert in sorted(counts)}
        self.drafted = drafted(chosen, width)


Forward = list[Routing]
"""A forward of the target, layer by layer."""


def forward(tokens: Sequence[Any], ahead: Sequence[Any] | None, width: int = 1) -> Forward:
    """Return the forward over tokens `[layers][k]`, `width` per row; `ahead` holds what the next gates say to each, see
    `Ahead`."""
    return [
        Routing([token[layer] for token in tokens], None if ahead is None else Ahead(layer, ahead), width)
        for layer in range(len(tokens[0]))
    ]


def joined(forwards: Sequence[Forward]) -> Forward:
    """Return prompts that are read together, one behind the other, as one forward."""
    if len(forwards) == 1:
        return forwards[0]
    return [
        Routing([token for layer in layers for token in layer.chosen], None) for layers in zip(*forwards, strict=True)
    ]


class Verifications:
    """The forwards that may verify a request's drafts, each worked out when it is first asked for.

    Args:
        routed, ahead: per position and token, as in `forward`.
    """

    def __init__(self, routed: list[list[Any]], ahead: list[list[Any]]) -> None:
        self._routed, self._ahead = routed, ahead
        self._known: list[list[Forward]] = [[] for _ in routed]
        """By position and width."""

    def at(self, position: int, width: int) -> Forward:
        """The forward over so many tokens at a position: the last one committed and the draft."""
        known = self._known[position]
        while len(known) <= width:
            known.append([])
        if not known[width]:
            known[width] = forward(self._routed[position][:width], self._ahead[position][:width], width)
        return known[width]
