"""Asking a router which experts it would choose, and nothing else: what a hint needs, in a few microseconds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from systems.modeling.routers import Router
from systems.policies.listening import distinct

Name = Callable[[Tensor], list[int]]
"""Distinct experts that a router would choose for hidden states `(T, H)`, in the order of first mention."""
Choose = Callable[[Tensor], Tensor]
"""What a router would choose for hidden states `(T, H)`: `(T, k)`."""
_PROBES = 256


def naming(router: Router) -> Name:
    """Return how to ask a router for names."""
    choose = choosing(router)
    return lambda hidden: distinct(choose(hidden).tolist())


def choosing(router: Router) -> Choose:
    """Return how to ask a router for its choice.

    Most routers choose the largest logits: softmax and renormalisation weigh the chosen, and do not change who they
    are. Such a one is asked for these only; one that chooses otherwise, or has a bias or groups, is run as it is. Which
    of the two it is, is tried out.
    """
    weight = getattr(router.module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2 or len(weight) != router.experts:
        return router
    k = router.top_k
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        probes = torch.randn(_PROBES, weight.shape[1], generator=generator).to(weight.device, weight.dtype)
        largest = functional.linear(probes, weight).topk(k).indices
        if not torch.equal(router(probes).sort().values, largest.sort().values):
            return router
    return lambda hidden: functional.linear(hidden, weight).topk(k).indices
