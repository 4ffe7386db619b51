"""Families whose experts are outside of transformers' interface, and what each of them does differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from systems.contract.errors import BadInput
from systems.modeling.experts import Arithmetic, Matrix
from systems.modeling.offloaded import Gated, OffloadedExperts, Part, product, within


class LongcatFlashExperts(OffloadedExperts):
    """Experts beyond the routed ones give back what they are given: they cost nothing, and are left to the model."""

    transposed = False

    @property
    def count(self) -> int:
        """Experts that have weights."""
        found: int = self.num_routed_experts  # type: ignore[attr-defined]
        return found

    def find_arithmetic(self) -> Arithmetic:
        """Gated linear units."""
        return Gated(self.act_fn)  # type: ignore[attr-defined]

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Mix as ever, with the token's own experts at no weight in the identities' place; then add what those give."""
        chosen, identity = within(top_k_index, self.count)
        mixed = super().forward(hidden_states, chosen, top_k_weights.masked_fill(identity, 0.0))
        shares = top_k_weights.masked_fill(~identity, 0.0).gather(-1, top_k_index.argsort(-1))
        for share in shares.split(1, dim=-1):  # in ascending order of experts, as the family adds them
            mixed = mixed + (hidden_states * share).to(mixed.dtype)
        return mixed


class Llama4TextExperts(OffloadedExperts):
    """Given every token once per expert, scaled by its weight, and zeros where it does not choose the expert."""

    transposed = True

    def __init__(self, config: Any) -> None:
        if config.num_experts_per_tok != 1:
            raise BadInput(f"Llama-4 with {config.num_experts_per_tok} experts per token is not supported: it uses one")
        super().__init__(config)

    def find_arithmetic(self) -> Arithmetic:
        """Gated linear units, by transposed matrices."""
        activation = self.act_fn  # type: ignore[attr-defined]

        def arithmetic(rows: Tensor, matrices: Sequence[Matrix]) -> Tensor:
            gate, up = product(rows, matrices[0], transposed=True).chunk(2, dim=-1)
            return product(up * activation(gate), matrices[1], transposed=True)

        return arithmetic

    def forward(self, hidden_states: Tensor) -> Tensor:  # type: ignore[override]
        """Compute `(E * T, H)`: the one copy of each token that is not zero."""
        copies = hidden_states.view(self.count, -1, hidden_states.shape[-1])
        chosen = copies.abs().amax(-1).argmax(0)
        tokens = torch.arange(copies.shape[1], device=chosen.device)
        ones = torch.ones(len(tokens), 1, dtype=copies.dtype, device=copies.device)
        output = torch.zeros_like(copies)
        output[chosen, tokens] = super().forward(copies[chosen, tokens], chosen[:, None], ones)
        return output.view_as(hidden_states)


class DbrxExperts(OffloadedExperts):
    """Parameters in a module of their own, the experts' rows one behind the other."""

    transposed = False

    def find_parts(self) -> tuple[Part, ...]:
        """`w1` and `v1` are gate and up, `w2` is down, transposed; each `(I, H)`."""
        mlp: Any = self.mlp  # type: ignore[attr-defined]
        size = (mlp.ffn_hidden_size, mlp.hidden_size)
        return tuple(Part(mlp, name, size) for name in ("w1", "v1", "w2"))

    def find_arithmetic(self) -> Arithmetic:
        """What the family's module computes when it is given an expert's matrices."""
        return lambda rows, matrices: self.mlp(rows, *matrices)  # type: ignore[attr-defined]

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Mix the experts of `(B, T, H)`."""
        flat = hidden_states.reshape(-1, hidden_states.shape[-1])
        return super().forward(flat, top_k_index, top_k_weights).view_as(hidden_states)


class JetMoeMoE(OffloadedExperts):
    """A block that sorts tokens for two modules, each of which holds one matrix of every expert.

    The experts of its attention are another class, and stay where they are.
    """

    transposed = False

    @property
    def count(self) -> int:
        """Experts."""
        found: int = self.router.num_experts  # type: ignore[attr-defined]
        return found

    def find_parts(self) -> tuple[Part, ...]:
        """Gate and up, then down."""
        owners = (self.input_linear, self.output_linear)  # type: ignore[attr-defined]
        return tuple(Part(owner, "weight", tuple(owner.weight.shape[1:])) for owner in owners)

    def find_arithmetic(self) -> Arithmetic:
        """Gated linear units."""
        return Gated(self.activation)  # type: ignore[attr-defined]

    def forward(self, layer_input: Tensor) -> Tensor:  # type: ignore[override]
        """Route `(B, T, H)` as the family does, and mix."""
        flat = layer_input.reshape(-1, layer_input.shape[-1])
        logits, chosen = self.router(flat)[-1].topk(self.router.top_k, dim=1)  # type: ignore[attr-defined]
        weights = logits.softmax(1).type_as(flat)
        mixed = super().forward(flat, chosen, weights).view_as(layer_input)
        output: Tensor = mixed + self.bias  # type: ignore[attr-defined]
        return output


ADAPTERS: dict[str, type[OffloadedExperts]] = {
    adapter.__name__: adapter for adapter in (LongcatFlashExperts, Llama4TextExperts, DbrxExperts, JetMoeMoE)
}
"""By the name of the family's own class."""
