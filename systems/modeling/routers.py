"""Which module routes each layer's tokens: observed while the model reads, not looked up by name.

The router of a layer is the module whose output is the very tensor that the layer's experts are given as their choice.
Where a block chooses behind its router (as DBRX does), it is the module whose largest outputs are that choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from systems.modeling.decoder import Decoder
from systems.modeling.experts import ExpertPort
from systems.modeling.offloaded import OffloadedExperts, within

_TOKENS = 4
"""Positions of the text on which routers are observed: by one alone, logits may look like a router's by chance."""


@dataclass(frozen=True, slots=True)
class Router:
    """A layer's router, asked for hidden states of its own layer or of another model's.

    Attributes:
        module: what the family calls.
        dims: dimensions of the hidden states that it takes, 2 or 3.
        others: what it is given besides.
        place: where its choice is in what it returns; None: it returns logits of which the largest are chosen.
        experts: experts of the layer that have weights.
        top_k: experts per token.
    """

    module: Any
    dims: int
    others: tuple[Any, ...]
    place: int | None
    experts: int
    top_k: int

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return the experts `(T, k)` that it chooses for hidden states `(..., H)`."""
        outputs = self._outputs(hidden)
        if self.place is None:
            return self._scores(outputs).topk(self.top_k).indices
        return within(outputs[self.place].reshape(-1, self.top_k), self.experts)[0]

    def logits(self, hidden: Tensor) -> Tensor:
        """Return what it thinks of each expert, `(T, experts)`: the first such that it puts out."""
        return self._scores(self._outputs(hidden))

    def _outputs(self, hidden: Tensor) -> tuple[Any, ...]:
        flat = hidden.reshape(-1, hidden.shape[-1])
        output = self.module(flat if self.dims == 2 else flat[None], *self.others)
        return output if isinstance(output, tuple) else (output,)

    def _scores(self, outputs: Sequence[Any]) -> Tensor:
        found = next(rows for item in outputs if (rows := _rows(item)) is not None and rows.shape[-1] >= self.experts)
        return found[:, : self.experts]


@dataclass(slots=True)
class _Call:
    """A call of a module: where it may be a router's, the first of its inputs is the hidden states.

    Attributes:
        steady: whether all that it was given besides is the model's own, so that it can be given again.
    """

    module: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    steady: bool

    def router(self, place: int | None, experts: int, top_k: int) -> Router | None:
        """Return how to ask it; None: it needs to know more than hidden states."""
        if not self.steady:
            return None
        return Router(self.module, self.inputs[0].dim(), self.inputs[1:], place, experts, top_k)


@torch.inference_mode()
def observe(target: Any, port: ExpertPort, layers: int, experts: int) -> tuple[list[Router | None], int]:
    """Let a target read a few tokens, its experts left out; return its routers by MoE layer, and experts per token.

    None stands for a layer whose experts nobody was seen to choose.
    """
    calls: list[_Call] = []
    routers: list[Router | None] = [None] * layers
    width = 0

    def mixer(layer: int, hidden: Tensor, chosen: Tensor, *_: Any) -> Tensor:
        nonlocal width
        width = chosen.shape[-1]
        routers[layer] = _who(calls, given, chosen, experts)
        return torch.zeros_like(hidden)

    def take(_: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        given[:] = [*inputs, *named.values()]

    port.mixer = mixer
    given: list[Any] = []
    with _hearing(target, calls.append), _before(target, take):
        Decoder(target, 1, _TOKENS).prefill(0, list(range(_TOKENS)))
    return routers, width


def _who(calls: Sequence[_Call], given: Sequence[Any], chosen: Tensor, experts: int) -> Router | None:
    """Find the latest call that put out what the experts are given as the choice, else whose largest outputs it is."""
    top_k = chosen.shape[-1]
    for call in reversed(calls):
        for place, item in enumerate(call.outputs):
            if isinstance(item, Tensor) and not item.is_floating_point() and any(item is own for own in given):
                return call.router(place, experts, top_k)
    wanted = chosen.sort().values
    for call in reversed(calls):
        for item in call.outputs:
            rows = _rows(item)
            if rows is None or rows.shape != (len(chosen), experts):
                continue
            if torch.equal(rows.topk(top_k).indices.sort().values, wanted):
                return call.router(None, experts, top_k)
    return None


def _rows(item: Any) -> Tensor | None:
    """Return scores as `(T, experts)`, if that is what an output is."""
    if not isinstance(item, Tensor) or not item.is_floating_point() or item.dim() < 2:
        return None
    return item.reshape(-1, item.shape[-1])


@contextmanager
def _hearing(model: Any, hear: Callable[[_Call], None]) -> Iterator[None]:
    """Hear of all calls of a model's modules whose first input is a tensor."""
    own = {id(tensor) for tensor in [*model.parameters(), *model.buffers()]}

    def hook(module: Any, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            steady = all(other is None or id(other) in own for other in inputs[1:])
            steady = steady and all(other is None for other in named.values())
            hear(_Call(module, inputs, output if isinstance(output, tuple) else (output,), steady))

    hooks = [module.register_forward_hook(hook, with_kwargs=True) for module in model.modules()]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


@contextmanager
def _before(model: Any, take: Callable[[Any, tuple[Any, ...], dict[str, Any]], None]) -> Iterator[None]:
    """Be told what a model's experts are given, before they are computed."""
    bodies: list[Any] = [module for module in model.modules() if isinstance(module, OffloadedExperts)]
    hooks = [module.register_forward_pre_hook(take, with_kwargs=True) for module in bodies]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()
