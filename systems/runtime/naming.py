"""Asking a router which experts it would choose, and nothing else: what a hint needs, in a few microseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from systems.policies.listening import distinct

Name = Callable[[Tensor], list[int]]
"""Distinct experts that a router would choose for hidden states `(T, H)`, in the order of first mention."""
_PROBES = 256


def naming(router: Any) -> Name:
    """Return how to ask a router.

    Most routers choose the largest logits: softmax and renormalisation weigh the chosen, and do not change who they
    are. Such a one is asked for these only; one that chooses otherwise, or has a bias or groups, is run as it is. Which
    of the two it is, is tried out.
    """

    def whole(hidden: Tensor) -> list[int]:
        return distinct(router(hidden)[2].tolist())

    weight = getattr(router, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2:
        return whole
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        probes = torch.randn(_PROBES, weight.shape[1], generator=generator).to(weight.device, weight.dtype)
        chosen = router(probes)[2]
        k = chosen.shape[-1]
        largest = functional.linear(probes, weight).topk(k).indices
        if not torch.equal(chosen.sort().values, largest.sort().values):
            return whole

    def logits_only(hidden: Tensor) -> list[int]:
        return distinct(functional.linear(hidden, weight).topk(k).indices.tolist())

    return logits_only
