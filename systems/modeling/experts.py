"""What computes routed experts in a model's stead: from whatever slots a cache provides, in any order of arrival."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from systems.cache.clock import Pace
from systems.cache.expert_cache import ExpertCache
from systems.policies.listening import Listener, drafted
from systems.store.slots import Places

Matrix = Tensor | Callable[[Tensor], Tensor]
"""A part of an expert's record, or what multiplies rows by it in its stead."""
Arithmetic = Callable[[Tensor, Sequence[Matrix]], Tensor]
"""What one expert of a family computes: from rows `(n, H)` and its matrices and biases, in the order of its record."""
Mixer = Callable[[int, Tensor, Tensor, Tensor, Arithmetic], Tensor]
"""Computes the routed experts of a layer: ordinal, hidden `(T, H)`, chosen `(T, k)`, weights `(T, k)`, arithmetic."""


def nothing(layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
    """A `Mixer` that leaves experts out."""
    return torch.zeros_like(hidden)


class ExpertPort:
    """The socket between a model and whichever system is running: modules call `mixer` at each forward."""

    def __init__(self) -> None:
        self.mixer: Mixer = nothing


class CachedExperts:
    """A `Mixer` that computes from an expert cache.

    Args:
        listener: told what each layer sees and chooses, once its experts are ordered; None: nobody listens.
        pace: how long a layer takes on a virtual clock; None: it takes what it takes.
    """

    def __init__(self, cache: ExpertCache, listener: Listener | None = None, pace: Pace | None = None) -> None:
        assert isinstance(cache.slots, Places)
        self._cache, self._slots, self._listener, self._pace = cache, cache.slots, listener, pace

    def __call__(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Return, bit for bit, what the family's own loop gives: the same products on the same rows, added per
        token in ascending order of experts, whatever the order in which experts arrive."""
        dispatch = Dispatch(chosen)
        cache = self._cache
        if self._pace is not None:
            self._pace.half_layer(len(hidden))
        arriving: Iterable[tuple[int, int]] = cache.visit(layer, dispatch.needed, drafted(dispatch.chosen, cache.width))
        if self._listener is not None:
            self._listener.routed(layer, hidden, dispatch.chosen)
        if self._pace is not None:
            arriving = _paced(arriving, self._pace, len(hidden), len(dispatch.needed))
        return mix(self._slots, arriving, dispatch, hidden, weights, arithmetic)


def _paced(places: Iterable[tuple[int, int]], pace: Pace, tokens: int, experts: int) -> Iterator[tuple[int, int]]:
    """Let the time of each expert pass once it is computed, while others still travel."""
    for place in places:
        yield place
        pace.expert(tokens, experts)


def mix(
    slots: Places,
    places: Iterable[tuple[int, int]],
    dispatch: Dispatch,
    hidden: Tensor,
    weights: Tensor,
    arithmetic: Arithmetic,
) -> Tensor:
    """Compute the experts of each token and add them up.

    Args:
        places: experts of the layer, and where their matrices are, in the order in which they may be read.
        hidden: `(T, H)`.
        weights: `(T, k)`.
    """
    copies = len(dispatch.entries)
    rows = hidden.expand(copies, -1) if len(hidden) == 1 else hidden[dispatch.rows]
    shares = weights.reshape(-1)[dispatch.entries, None]
    outputs = hidden.new_empty(copies, hidden.shape[-1])
    for expert, place in places:
        part = dispatch.parts[expert]
        torch.mul(arithmetic(rows[part], slots.matrices[place]), shares[part], out=outputs[part])
    mixed = outputs[dispatch.order[0]]
    for rank in dispatch.order[1:]:
        mixed = mixed + outputs[rank]
    return mixed


class Dispatch:
    """Token copies sorted by expert, so that each expert computes one contiguous block of rows.

    Attributes:
        chosen: the router's choice, as lists.
        needed: distinct experts, ascending, and how many copies each computes.
        parts: per expert the slice of sorted copies.
        entries: `(T * k,)` flat index into the `(T, k)` router output, in sorted order.
        rows: `(T * k,)` token of each copy.
        order: k index tensors `(T,)`: where the copy of each token with the r-th smallest expert lies.
    """

    __slots__ = ("chosen", "entries", "needed", "order", "parts", "rows")

    def __init__(self, top_k_index: Tensor) -> None:
        tokens, k = top_k_index.shape
        by_expert: dict[int, list[int]] = {}
        self.chosen: list[list[int]] = top_k_index.tolist()
        for rank in range(k):  # rank before token: the row order of the families' own loop
            for token in range(tokens):
                by_expert.setdefault(self.chosen[token][rank], []).append(token * k + rank)
        self.needed = {expert: len(by_expert[expert]) for expert in sorted(by_expert)}
        self.parts: dict[int, slice] = {}
        flat: list[int] = []
        places: list[list[int]] = [[] for _ in range(tokens)]
        for expert in self.needed:
            start = len(flat)
            for entry in by_expert[expert]:
                places[entry // k].append(len(flat))
                flat.append(entry)
            self.parts[expert] = slice(start, len(flat))
        device = top_k_index.device
        self.entries = torch.tensor(flat, device=device)
        self.rows = self.entries // k
        self.order = torch.tensor(places, device=device).T
