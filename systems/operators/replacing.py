"""Putting an operator in the place of a module's own forward, and taking it away again."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor

Undo = Callable[[], None]
"""Gives a module its own forward back."""
Read = Callable[[Any], Tensor]
"""Lets a model read a few tokens, some at once and some one by one; returns the logits of all."""


def replace(module: Any, forward: Callable[..., Any]) -> Undo:
    """Let a module compute by `forward`."""
    before = vars(module).get("forward")
    module.forward = forward
    return lambda: vars(module).pop("forward") if before is None else setattr(module, "forward", before)


def own(module: Any) -> bool:
    """Whether a module still computes by its class's forward."""
    return "forward" not in vars(module)


def meaning(module: Any, name: str) -> Any:
    """Return what a name of a module's file means that its forward mentions; None: it does not."""
    forward: Any = getattr(module.forward, "__func__", None)
    mentioned = name in getattr(getattr(forward, "__code__", None), "co_names", ())
    return forward.__globals__.get(name) if mentioned else None


def with_other(module: Any, name: str, meant: Any) -> Undo:
    """Let a module compute by the forward that it has, in which a name of its file means something else: in this module
    alone."""
    forward = module.forward.__func__
    names = forward.__globals__ | {name: meant}
    other = FunctionType(forward.__code__, names, forward.__name__, forward.__defaults__, forward.__closure__)
    other.__kwdefaults__ = forward.__kwdefaults__
    return replace(module, MethodType(other, module))


def nearest(stock: Tensor, others: list[Tensor]) -> int | None:
    """Return which tensor equals the first, bit for bit if there is one, else but for rounding; None: none does."""
    for place, other in enumerate(others):
        if torch.equal(stock, other):
            return place
    bound = torch.finfo(stock.dtype).eps * (8 if stock.dtype == torch.float32 else 1)
    return next((p for p, other in enumerate(others) if torch.allclose(other, stock, rtol=bound, atol=bound)), None)
