"""The module that takes the place of a model family's experts: no parameters, weights from slots.

Every Mixture-of-Experts family of transformers 5 builds its routed experts as one class `<Family>Experts`
with the forward `(hidden, top_k_index, top_k_weights) -> hidden`. Substituting that class while the model is
constructed means that expert weights are never allocated nor read, and needs no code per family.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from systems.policies.listening import Listener, drafted
from systems.runtime.clock import Pace
from systems.runtime.expert_cache import ExpertCache
from systems.runtime.slots import Places

_swap = threading.Lock()


Activation = Callable[[Tensor], Tensor]
Mixer = Callable[[int, Tensor, Tensor, Tensor, Activation], Tensor]
"""Computes the routed experts of a layer: ordinal, hidden `(T, H)`, chosen `(T, k)`, weights `(T, k)`, activation."""


class ExpertPort:
    """The socket between a model and whichever system is running: modules call `mixer` at each forward."""

    mixer: Mixer


class OffloadedExperts(nn.Module):
    """Routed experts of one layer, computed from whatever slots the port's cache provides.

    Args:
        config: the family's config; only the activation is read from it.
    """

    def __init__(self, config: Any, *_: Any, **__: Any) -> None:
        from transformers.activations import ACT2FN

        super().__init__()
        # Keeps the family's weight initialisation, which looks for parameters we do not have, away from us.
        self._is_hf_initialized = True
        self.act_fn: Activation = ACT2FN[config.hidden_act]
        self.port = ExpertPort()
        self.layer = -1

    def bind(self, port: ExpertPort, layer: int) -> None:
        """Attach to a port as the MoE layer with ordinal `layer`."""
        self.port, self.layer = port, layer

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Mix the experts of each token: `(T, H)`, `(T, k)` expert numbers, `(T, k)` weights to `(T, H)`."""
        return self.port.mixer(self.layer, hidden_states, top_k_index, top_k_weights, self.act_fn)


class CachedExperts:
    """A `Mixer` that computes from an expert cache.

    Args:
        listener: told what each layer sees and chooses, once its experts are ordered; None: nobody listens.
        pace: how long a layer takes on a virtual clock; None: it takes what it takes.
    """

    def __init__(self, cache: ExpertCache, listener: Listener | None = None, pace: Pace | None = None) -> None:
        assert isinstance(cache.slots, Places)
        self._cache, self._slots, self._listener, self._pace = cache, cache.slots, listener, pace

    def __call__(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, activation: Activation) -> Tensor:
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
        return mix(self._slots, arriving, dispatch, hidden, weights, activation)


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
    activation: Activation,
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
        gate, up = functional.linear(rows[part], slots.gate_up[place]).chunk(2, dim=-1)
        activated = functional.linear(activation(gate) * up, slots.down[place])
        torch.mul(activated, shares[part], out=outputs[part])
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


@contextmanager
def experts_left_out(config: Any) -> Iterator[None]:
    """While active, models of the family of `config` are built with `OffloadedExperts` instead of experts.

    transformers has a registry for such substitutions since 5.21, but it is not restored when a constructor
    raises; this works on 5.17 and later. The substitution is process-wide, so a lock is held: load the target
    inside and everything else outside.
    """
    from transformers import AutoModelForCausalLM

    model_class = AutoModelForCausalLM._model_mapping[type(config)]
    module = importlib.import_module(model_class.__module__)
    names = [name for name, item in vars(module).items() if name.endswith("Experts") and isinstance(item, type)]
    with _swap:
        saved = {name: getattr(module, name) for name in names}
        try:
            for name in names:
                setattr(module, name, OffloadedExperts)
            yield
        finally:
            for name, item in saved.items():
                setattr(module, name, item)


def bind_experts(model: nn.Module, port: ExpertPort) -> int:
    """Attach every `OffloadedExperts` of a model to a port, in order of layers; return their number."""
    modules = [module for module in model.modules() if isinstance(module, OffloadedExperts)]
    for layer, module in enumerate(modules):
        module.bind(port, layer)
    return len(modules)
