"""A model family's own experts class without its parameters: its arithmetic stays, its weights come from slots.

transformers' interface for experts (`use_experts_implementation`) guarantees of a class all that is asked here: one
parameter per matrix or bias with the expert as its first dimension, `num_experts`, `has_gate`, `has_bias`,
`is_transposed`, `has_post_expert_norm`, `act_fn`, `_apply_gate`. Classes outside of it have an adapter in
`systems.modeling.adapters`, or are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from systems.contract.errors import BadInput
from systems.modeling.experts import Arithmetic, ExpertPort, Matrix
from systems.operators import layout

OnPart = Callable[[int, int, Tensor], None]
"""Told of weights that transformers has loaded: ordinal of the layer, number of the part, all experts `(E, ...)`."""
_KNOWN = ("gate_up_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Part:
    """A matrix or bias of every expert of a layer.

    Attributes:
        owner: the module whose parameter `name` holds it.
        size: shape of one expert's.
    """

    owner: Any
    name: str
    size: tuple[int, ...]


class Caught:
    """Mixed into a module class: parameters that somebody waits for are handed over where they would be set."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute as ever; transformers sets a parameter when it has loaded and converted it."""
        if isinstance(value, nn.Parameter) and (hand_over := self.__dict__.get("_waiting", {}).get(name)) is not None:
            hand_over(value.data)
            return
        super().__setattr__(name, value)


class OffloadedExperts:
    """Mixed into a family's experts class while a model is constructed; see `systems.modeling.skeleton`.

    Attributes:
        layer: ordinal of the MoE layer.
        arithmetic: what one expert computes.
    """

    born: Callable[[OffloadedExperts], None]
    """Told of each instance: set by who has the model constructed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.port = ExpertPort()
        self.layer = -1
        self.parts = self.find_parts()
        self.arithmetic = self.find_arithmetic()
        for module in {self, *(part.owner for part in self.parts)}:
            # Keeps the family's weight initialisation, which looks for parameters we shall not have, away.
            module._is_hf_initialized = True
        self.born(self)

    @property
    def count(self) -> int:
        """Routed experts of the layer that have weights."""
        found: int = self.num_experts  # type: ignore[attr-defined]
        return found

    @property
    def transposed(self) -> bool:
        """Whether matrices are `(in, out)`."""
        return bool(self.is_transposed)  # type: ignore[attr-defined]

    def find_parts(self) -> tuple[Part, ...]:
        """Return what one expert consists of, in the order of its record.

        Raises:
            BadInput: parameters that transformers' interface does not name.
        """
        own = self.named_parameters(recurse=False)  # type: ignore[attr-defined]
        parts = tuple(Part(self, name, tuple(parameter.shape[1:])) for name, parameter in own)
        if strange := [part.name for part in parts if part.name.removesuffix("_bias") not in _KNOWN]:
            raise BadInput(
                f"{type(self).__name__} has parameters that no expert is known to have: {', '.join(strange)}"
            )
        return parts

    def find_arithmetic(self) -> Arithmetic:
        """Return what one expert computes: what transformers' own kernels of the interface do."""
        names = [part.name for part in self.parts]
        own: Any = self._apply_gate  # type: ignore[attr-defined]
        usual = own.__module__ == "transformers.integrations.moe"
        flags = (self.has_bias, self.is_transposed, _normed(self))  # type: ignore[attr-defined]
        if usual and names == ["gate_up_proj", "down_proj"] and not any(flags):
            return Gated(self.act_fn)  # type: ignore[attr-defined]
        return _interface(self, names)

    def wait(self, layer: int, hand_over: OnPart) -> None:
        """Hand the weights over instead of holding them, as those of the MoE layer with ordinal `layer`."""
        for number, part in enumerate(self.parts):
            if not isinstance(part.owner, Caught):
                part.owner.__class__ = type(type(part.owner).__name__, (Caught, type(part.owner)), {})
                part.owner._waiting = {}
            part.owner._waiting[part.name] = partial(hand_over, layer, number)

    def drop(self) -> None:
        """Forget the parameters."""
        for part in self.parts:
            part.owner._parameters.pop(part.name, None)
            part.owner.__dict__.pop("_waiting", None)

    def bind(self, port: ExpertPort, layer: int) -> None:
        """Attach to a port as the MoE layer with ordinal `layer`."""
        self.port, self.layer = port, layer

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Mix the experts of each token: `(T, H)`, `(T, k)` expert numbers, `(T, k)` weights to `(T, H)`."""
        return self.port.mixer(self.layer, hidden_states, top_k_index, top_k_weights, self.arithmetic)


class Gated:
    """What most families' experts compute, from `gate | up` and `down`: an `Arithmetic`."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        self._activation = activation

    def __call__(self, rows: Tensor, matrices: Sequence[Matrix]) -> Tensor:
        """Compute rows `(n, H)`."""
        first, second = matrices
        if len(rows) == 1 and _by_inputs(first) and _by_inputs(second):  # the products of `product`, and no views
            gate, up = torch.mv(first, rows[0]).chunk(2)
            return torch.mv(second, self._activation(gate) * up)[None]
        gate, up = product(rows, first).chunk(2, dim=-1)
        return product(self._activation(gate) * up, second)

    @cached_property
    def by_silu(self) -> bool:
        """Whether the activation is `x / (1 + exp(-x))`, as its values say."""
        tried = torch.linspace(-8, 8, 65)
        return torch.equal(self._activation(tried), functional.silu(tried))


def within(chosen: Tensor, experts: int) -> tuple[Tensor, Tensor]:
    """Return a choice `(T, k)` in which one of the token's own experts, else the first, is in the place of those that
    have no weights, whose numbers are behind; and where those are."""
    strangers = chosen >= experts
    return torch.where(strangers, chosen.masked_fill(strangers, 0).amax(-1, keepdim=True), chosen), strangers


def _by_inputs(matrix: Matrix) -> TypeGuard[Tensor]:
    """Whether it is a matrix that lies input by input."""
    return isinstance(matrix, Tensor) and layout.lies_by_inputs(matrix)


def product(rows: Tensor, matrix: Matrix, transposed: bool = False) -> Tensor:
    """Multiply rows `(n, in)` by a matrix `(out, in)`, or `(in, out)` where it is transposed."""
    if isinstance(matrix, Tensor):
        return rows @ matrix if transposed else layout.product(rows, matrix)
    return matrix(rows)


def _normed(experts: Any) -> bool:
    """Whether each expert's output is normed: transformers before 5.20 knows no such experts, and no such flag."""
    return bool(getattr(experts, "has_post_expert_norm", False))


def _interface(experts: Any, names: Sequence[str]) -> Arithmetic:
    places = {name: place for place, name in enumerate(names)}
    inner = "gate_up_proj" if experts.has_gate else "up_proj"
    transposed, normed = experts.is_transposed, _normed(experts)

    def project(rows: Tensor, matrices: Sequence[Matrix], name: str) -> Tensor:
        projected = product(rows, matrices[places[name]], transposed)
        bias = places.get(f"{name}_bias")
        return projected if bias is None else projected + matrices[bias]  # type: ignore[operator]

    def arithmetic(rows: Tensor, matrices: Sequence[Matrix]) -> Tensor:
        projected = project(rows, matrices, inner)
        activated = experts._apply_gate(projected) if experts.has_gate else experts.act_fn(projected)
        output = project(activated, matrices, "down_proj")
        mixed: Tensor = experts.post_expert_norm(output) if normed else output
        return mixed

    return arithmetic
