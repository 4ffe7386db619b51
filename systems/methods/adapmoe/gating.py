"""AdapMoE's adaptive gating (arXiv 2408.10284): leave out experts that hardly matter. Lossy.

An expert other than a token's first is left out when its share of the token's weight is below
`sqrt(tolerance / sensitivity)` of the layer. The released code has sensitivities of one model hard-coded and
0.005 as the tolerance; here a layer's sensitivity is measured in the warm-up as the damage (Kullback-Leibler
divergence of the next-token distribution, in nats) of leaving all such experts of that layer out, per squared share.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from systems.modeling.decoder import Decoder
from systems.modeling.experts import Arithmetic, Mixer

_KEEP, _ALL = 0.0, 2.0
"""Thresholds under which no share, or every share, lies."""


class AdaptiveGating:
    """A `Mixer` in front of another that sees fewer experts."""

    def __init__(self, mixer: Mixer, layers: int, tolerance: float) -> None:
        self._mixer, self._tolerance = mixer, tolerance
        self.thresholds = [_KEEP] * layers
        self._damage = [0.0] * layers
        self._squares = [0.0] * layers
        self._profiling = False

    def __call__(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Replace what is left out by the token's first expert at no weight, and keep the total weight."""
        total = weights.sum(-1, keepdim=True)
        shares = weights / total
        out = shares < self.thresholds[layer]
        best = shares.argmax(-1, keepdim=True)
        out.scatter_(1, best, False)
        if self._profiling:
            self._squares[layer] += float(shares.masked_fill(~out, 0.0).square().sum(-1).mean())
        first = chosen.gather(1, best)
        kept = shares.masked_fill(out, 0.0)
        kept = kept / kept.sum(-1, keepdim=True) * total
        return self._mixer(layer, hidden, torch.where(out, first, chosen), kept.to(weights.dtype), arithmetic)

    @torch.inference_mode()
    def profile(self, decoder: Decoder, prompts: Sequence[Sequence[int]]) -> None:
        """Measure sensitivities on prompts and set the thresholds; may be called again, the measures add up."""
        layers = range(len(self.thresholds))
        self._profiling = True
        for prompt in prompts:
            self.thresholds = [_KEEP for _ in layers]
            whole = self._distribution(decoder, prompt)
            for layer in layers:
                self.thresholds = [_ALL if other == layer else _KEEP for other in layers]
                damaged = self._distribution(decoder, prompt)
                self._damage[layer] += float((whole.exp() * (whole - damaged)).sum(-1).mean())
        self._profiling = False
        self.thresholds = [
            (self._tolerance * square / damage) ** 0.5 if damage > 0 else _KEEP
            for damage, square in zip(self._damage, self._squares, strict=True)
        ]

    @staticmethod
    def _distribution(decoder: Decoder, prompt: Sequence[int]) -> Tensor:
        """Log-probabilities `(T, V)` behind every token of a prompt."""
        return decoder.forward(torch.tensor([prompt], device=decoder.device), [0])[0].float().log_softmax(-1)
