"""The target as its own draft, with those of its experts that the cache happens to hold.

nano-vllm-moe (potatoZhx/nano-vllm-moe) drafts so: nothing is pinned for the draft, moved for it, or copied; keys and
values are shared. What a token's router chose and the cache lacks is left out. Where that is much, the router's choice
is bent towards experts that are there: their logits rise, in proportion to how much is missing, but nobody comes in
whom the router would not have named among three times as many, and its first choice is never displaced. The weights are
those of the logits as they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from systems.cache.clock import Pace
from systems.cache.expert_cache import ExpertCache
from systems.drafters.self_draft import SelfDrafter
from systems.modeling.experts import Arithmetic, Dispatch, ExpertPort, mix
from systems.modeling.routers import Router
from systems.store.slots import Places

BIAS = 4.0
"""What the logits of experts in the cache rise by at most; this and what follows are nano-vllm-moe's numbers."""
FROM, TO = 0.25, 0.5
"""Shares of a token's experts that are missing: up to the first nothing rises, from the second on all of the bias."""
POOL = 3
"""How many times a token's experts the router's first candidates are, from whom it may be made to choose."""


class CachedSelf(SelfDrafter):
    """Drafts with what is there.

    Args:
        routers: by MoE layer.
        pace: how long a layer takes on a virtual clock.
    """

    def __init__(
        self,
        port: ExpertPort,
        cache: ExpertCache,
        routers: Sequence[Router],
        draft_length: int,
        pace: Pace,
    ) -> None:
        super().__init__(port, draft_length, fast_bytes=0)
        assert isinstance(cache.slots, Places)
        self._cache, self._slots, self._routers, self._pace = cache, cache.slots, routers, pace

    def _mix(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Compute experts that are there, which may not go meanwhile."""
        self._pace.half_layer(len(hidden))
        base, here = layer * self._cache.experts, self._cache.lend(layer)
        mixed = torch.zeros_like(hidden)
        if here:
            cached = torch.zeros(self._cache.experts, dtype=torch.bool, device=hidden.device)
            cached[[expert - base for expert in here]] = True
            chosen, weights = rerouted(self._routers[layer].logits(hidden), chosen, weights, cached)
            dispatch = Dispatch(chosen.tolist(), chosen.device)
            places = [(expert, self._slots.place_of(base + expert)) for expert in dispatch.needed]
            mixed = mix(self._slots, places, dispatch, hidden, weights, arithmetic)
        self._pace.half_layer(len(hidden))
        self._cache.unpin(here)
        return mixed


def rerouted(logits: Tensor, chosen: Tensor, weights: Tensor, cached: Tensor) -> tuple[Tensor, Tensor]:
    """Return `(T, k)` experts, all of them cached, and their weights, for a router's choice.

    What is left out stands there as another expert without weight; a token with nothing left has no weight at all, and
    the others keep the sum that the router gave them.

    Args:
        logits: `(T, experts)`.
        chosen, weights: the router's, `(T, k)`.
        cached: `(experts,)`, true at those that may be read, of which there must be one.
    """
    missing = 1 - cached[chosen].float().mean(-1, keepdim=True)
    bent = ((missing - FROM) / (TO - FROM)).clamp(0, 1)
    picked = torch.where(bent > 0, _choice(logits, chosen, weights, bent * BIAS * cached), chosen)
    first = weights.argmax(-1, keepdim=True)
    best = chosen.gather(-1, first)
    relative = (logits.gather(-1, picked) - logits.gather(-1, best)).float().exp() * weights.gather(-1, first)
    shares = torch.where(bent > 0, relative, weights.float()) * cached[picked]
    left = shares.sum(-1, keepdim=True)
    shares = torch.where(left > 0, shares / left * weights.sum(-1, keepdim=True), shares)
    anyone = cached.nonzero()[0]
    return torch.where(cached[picked], picked, anyone), shares.to(weights.dtype)


def _choice(logits: Tensor, chosen: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Return the `(T, k)` largest of the router's first candidates with a bias, its first choice among them."""
    k = chosen.shape[-1]
    pool = logits.topk(min(POOL * k, logits.shape[-1]), dim=-1).indices
    outside = torch.ones_like(logits, dtype=torch.bool).scatter(-1, pool, False)
    picked = (logits + bias).masked_fill(outside, float("-inf")).topk(k, dim=-1).indices
    best = chosen.gather(-1, weights.argmax(-1, keepdim=True))
    displaced = ~(picked == best).any(-1, keepdim=True)
    last = torch.arange(k, device=picked.device) == k - 1
    return torch.where(displaced & last, best, picked)
