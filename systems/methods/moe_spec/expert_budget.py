"""MoE-Spec's expert budget (arXiv 2602.16052): verifications read few experts, whatever their tokens ask. Lossy.

Router probabilities are summed over the tokens that are verified together, the experts with the largest sums are
kept, and each token chooses its top k anew among them. Prompts and single tokens are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from systems.modeling.experts import Arithmetic, Mixer
from systems.modeling.routers import Router


class ExpertBudget:
    """A `Mixer` in front of another that sees few distinct experts.

    Args:
        routers: the target's, by MoE layer.
        experts: distinct experts per layer and verification.
        reading: whether a prompt is being read.
    """

    def __init__(self, mixer: Mixer, routers: Sequence[Router], experts: int, reading: Callable[[], bool]) -> None:
        self._mixer, self._routers, self._experts, self._reading = mixer, routers, experts, reading

    def __call__(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Choose anew within the budget, then mix."""
        if len(hidden) > 1 and not self._reading():
            chosen, weights = self._within(self._routers[layer].logits(hidden), weights)
        return self._mixer(layer, hidden, chosen, weights, arithmetic)

    def _within(self, logits: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return choices `(T, k)` among the budget's experts and their weights, of the same sum per token."""
        probabilities = logits.float().softmax(-1)
        kept = probabilities.sum(0).topk(self._experts).indices
        allowed = torch.zeros_like(probabilities[0]).index_fill_(0, kept, 1.0)
        shares, chosen = (probabilities * allowed).topk(weights.shape[-1], dim=-1)
        total = weights.sum(-1, keepdim=True)
        return chosen, (shares / shares.sum(-1, keepdim=True) * total).to(weights.dtype)
