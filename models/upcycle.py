"""Sparse upcycling: a Mixtral-architecture target that starts as copies of a dense model."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from models.transformer import Decoder


def upcycled(dense: Decoder, experts: int, top_k: int, redrawn: float, seed: int) -> Decoder:
    """The target: everything copied, the feed-forward block copied into every expert with `redrawn` of its neurons
    drawn anew (drop-upcycling: identical experts would stay identical, their gradients differ only by routing).

    New neurons have the standard deviation of the layer's own weights. Routers are random and small.
    """
    generator = torch.Generator().manual_seed(seed)
    target = Decoder(replace(dense.arch, experts=experts, top_k=top_k))
    with torch.no_grad():
        for name in ("embedding", "attention_norm", "query_key_value", "output", "mlp_norm", "norm"):
            getattr(target, name).copy_(getattr(dense, name))
        target.router.copy_(torch.randn(target.router.shape, generator=generator) * 0.02)
        for layer in range(dense.arch.layers):
            for expert in range(experts):
                fresh = torch.rand(dense.arch.intermediate, generator=generator) < redrawn
                gate_up = _redrawn(dense.gate_up[layer], torch.cat([fresh, fresh])[:, None], generator)
                target.gate_up[layer, expert] = gate_up
                target.down[layer, expert] = _redrawn(dense.down[layer], fresh[None, :], generator)
    return target


def _redrawn(weight: Tensor, fresh: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(weight.shape, generator=generator).to(weight.device) * weight.std()
    return torch.where(fresh.to(weight.device), noise, weight)
