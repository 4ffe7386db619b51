"""Root-mean-square norms by kernels that torch has, in place of the six to eight operators that families spell them out
in: one, or two on a host, where torch's own spells it out, too."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from systems.operators.replacing import Read, Undo, nearest, own, replace

_EPSILONS = ("variance_epsilon", "eps", "epsilon", "norm_eps")
"""What families call the number that keeps a norm from being divided by."""
_SCALES = (1.0, 1e-3)
"""Of hidden states on which a norm is tried: the smaller tells where that number is added."""
_FEW = 16
"""Rows up to which calling operators takes longer than computing them."""
Norm = Callable[[Tensor], Tensor]


def fuse_norms(model: Any, read: Read) -> list[Undo]:
    """Replace every norm of a model that such a kernel computes, too."""
    found = [module for module in model.modules() if _is_norm(module)]
    return [replace(module, norm) for module in found if (norm := _operator(module)) is not None]


def _is_norm(module: Any) -> bool:
    """Whether a module has the parts of a norm: a vector of weights, a small number, and one input."""
    weight = module._parameters.get("weight")
    if weight is None or weight.dim() != 1 or len(module._parameters) > 1 or _epsilon(module) is None:
        return False
    return own(module) and len(inspect.signature(module.forward).parameters) == 1


def _epsilon(module: Any) -> float | None:
    values = (getattr(module, name, None) for name in _EPSILONS)
    return next((value for value in values if isinstance(value, float)), None)


def _operator(module: Any) -> Norm | None:
    """Return what computes the same as a module; None: nothing known does."""
    weight, epsilon = module.weight, _epsilon(module)
    assert epsilon is not None
    candidates = _candidates(weight.detach(), epsilon)
    generator = torch.Generator().manual_seed(0)
    tried = torch.randn(2, 3, len(weight), generator=generator)
    rows = torch.cat([tried * scale for scale in _SCALES]).to(weight.device, weight.dtype)
    with torch.no_grad():
        place = nearest(module(rows), [candidate(rows) for candidate in candidates])
    return None if place is None else candidates[place]


def _candidates(weight: Tensor, epsilon: float) -> list[Norm]:
    """Return the norms that families have: scaled by their weights or by one more than those; where numbers are short,
    rounded before that or only behind."""
    size, more = weight.shape, weight.float() + 1.0
    if weight.dtype == torch.float32 and weight.device.type == "cpu":
        return [_by_mirror(weight, epsilon), _by_mirror(more, epsilon)]
    if weight.dtype == torch.float32:
        return [
            lambda rows: torch.rms_norm(rows, size, weight, epsilon),
            lambda rows: torch.rms_norm(rows, size, more, epsilon),
        ]
    return [
        lambda rows: torch.rms_norm(rows, size, weight, epsilon),
        lambda rows: torch.rms_norm(rows.float(), size, None, epsilon).to(rows.dtype) * weight,
        lambda rows: torch.rms_norm(rows.float(), size, more, epsilon).to(rows.dtype),
    ]


def _by_mirror(weight: Tensor, epsilon: float) -> Norm:
    """Return a host's norm by way of the one that subtracts the mean, for which it has a kernel: rows beside their
    negatives have none."""
    signs = torch.tensor([[1.0], [-1.0]])
    weights = torch.stack((weight, torch.zeros_like(weight)))
    size, most = weights.shape, _FEW * len(weight)

    def norm(rows: Tensor) -> Tensor:
        if rows.numel() > most:
            return torch.rms_norm(rows, weight.shape, weight, epsilon)
        return torch.layer_norm(rows.unsqueeze(-2) * signs, size, weights, None, epsilon).select(-2, 0)

    return norm
