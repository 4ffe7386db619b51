"""What computes routed experts in a model's stead: from whatever slots a cache provides, in any order of arrival."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from systems.cache.arrivals import Visit
from systems.cache.clock import Pace
from systems.cache.expert_cache import ExpertCache
from systems.operators.uploading import upload
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
        self._cache, self._listener, self.slots, self.pace = cache, listener, cache.slots, pace

    def __call__(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Return, bit for bit, what the family's own loop gives: the same products on the same rows, added per
        token in ascending order of experts, whatever the order in which experts arrive."""
        dispatch = Dispatch(chosen.tolist(), chosen.device)
        cache = self._cache
        if self.pace is not None:
            self.pace.half_layer(len(hidden))
        visit = cache.visit(layer, dispatch.needed, drafted(dispatch.chosen, cache.width))
        if self._listener is not None:
            self._listener.routed(layer, hidden, dispatch.chosen)
        return self.compute(visit, dispatch, hidden, weights, arithmetic)

    def compute(
        self, visit: Visit, dispatch: Dispatch, hidden: Tensor, weights: Tensor, arithmetic: Arithmetic
    ) -> Tensor:
        """Compute what a layer is handed out; see `mix`."""
        arriving: Iterable[tuple[int, int]] = visit
        if visit.apart and self._cache.asynchronous:
            from systems.modeling.host_experts import HostExperts

            arriving = beside = HostExperts(visit, dispatch, hidden, len(self.slots))
            arithmetic = beside.arithmetic(arithmetic)
        elif self.pace is not None:
            arriving = _paced(visit, self.pace, len(hidden), len(dispatch.needed))
        return mix(self.slots, arriving, dispatch, hidden, weights, arithmetic)


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
    if len(hidden) == 1:
        return _mix_one(slots, places, dispatch, hidden, weights, arithmetic)
    entries, tokens, order = dispatch.index()
    sizes = list(dispatch.needed.values())
    outputs = hidden.new_empty(len(entries), hidden.shape[-1])
    whole = (hidden[tokens], weights.reshape(-1, 1)[entries], outputs)
    parts = dict(zip(dispatch.needed, zip(*(rows.split(sizes) for rows in whole), strict=True), strict=True))
    for expert, place in places:
        rows, shares, output = parts[expert]
        torch.mul(arithmetic(rows, slots.matrices[place]), shares, out=output)
    mixed = outputs[order[0]]
    for rank in order[1:]:
        mixed = mixed + outputs[rank]
    return mixed


def _mix_one(
    slots: Places,
    places: Iterable[tuple[int, int]],
    dispatch: Dispatch,
    hidden: Tensor,
    weights: Tensor,
    arithmetic: Arithmetic,
) -> Tensor:
    """Mix the experts of one token, of which nothing has to be sorted: the same products, in the same order."""
    # Of one dimension: a number would take the products' type, where a vector may have a longer one.
    shares, chosen = weights.view(-1, 1).unbind(), dispatch.chosen[0]
    products = {expert: arithmetic(hidden, slots.matrices[place]) for expert, place in places}
    parts = [products[chosen[rank]] * shares[rank] for rank in dispatch.entries]
    if weights.dtype != hidden.dtype:
        parts = [part.to(hidden.dtype) for part in parts]
    mixed = parts[0]
    for part in parts[1:]:
        mixed = mixed + part
    return mixed


class Dispatch:
    """Token copies sorted by expert, so that each expert computes one contiguous block of rows.

    Attributes:
        chosen: the router's choice, as lists.
        needed: distinct experts, ascending, and how many copies each computes.
        entries: `T * k` flat positions in the `(T, k)` router output, in sorted order.
    """

    __slots__ = ("_device", "_shape", "chosen", "entries", "needed")

    def __init__(self, chosen: list[list[int]], device: torch.device) -> None:
        self._shape, self._device = (len(chosen), len(chosen[0])), device
        tokens, k = self._shape
        self.chosen = chosen
        experts = [expert for row in chosen for expert in row]
        # Of an expert's copies, rank before token: the row order of the families' own loop.
        ranked = [entry for rank in range(k) for entry in range(rank, tokens * k, k)]
        self.entries = sorted(ranked, key=experts.__getitem__)
        self.needed = dict[int, int]()
        for entry in self.entries:
            self.needed[experts[entry]] = self.needed.get(experts[entry], 0) + 1

    def index(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return as tensors `entries`, the token of each copy `(T * k,)`, and where the copy of each token with the
        r-th smallest expert lies, `(k, T)`."""
        tokens, k = self._shape
        places: list[list[int]] = [[] for _ in range(tokens)]
        for copy, entry in enumerate(self.entries):
            places[entry // k].append(copy)
        order = [place for rank in zip(*places, strict=True) for place in rank]
        rows = [entry // k for entry in self.entries]
        packed = upload([self.entries, rows, order], self._device)
        return packed[0], packed[1], packed[2].view(k, tokens)
