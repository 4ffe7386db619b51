"""How matrices lie in a host's memory: input by input, so that a product with few rows adds up whole columns.

The numbers and shapes stay what they are. A host's product of one row with a matrix that lies output by output is a
dot product per output, which waits for memory where the matrix is not in a processor's own cache: it takes up to twice
as long.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from systems.operators.replacing import Read, Undo, own, replace


def by_inputs(dtype: torch.dtype, device: str) -> bool:
    """Whether matrices of a dtype are better off input by input on a device: for bfloat16 a host has other kernels."""
    return dtype == torch.float32 and device == "cpu"


def laid_out(weight: Tensor) -> Tensor:
    """Return a matrix `(out, in)` that lies as is best for its device."""
    return weight.t().contiguous().t() if by_inputs(weight.dtype, weight.device.type) else weight


def lies_by_inputs(weight: Tensor) -> bool:
    """Whether a matrix `(out, in)` lies input by input."""
    return weight.stride(0) == 1


def product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply rows `(..., in)` by a matrix `(out, in)`; of one row and a matrix that lies input by input it is the sum
    of columns."""
    if not lies_by_inputs(weight) or rows.numel() != rows.shape[-1]:
        return functional.linear(rows, weight, bias)
    one = rows.reshape(-1)
    column = torch.mv(weight, one) if bias is None else torch.addmv(bias, weight, one)
    return column.view((1,) * (rows.dim() - 1) + (-1,))


@torch.no_grad()
def lay_out(model: Any, read: Read) -> list[Undo]:
    """Lay out the matrices of a model's modules, but for embeddings, and let linear maps make use of it."""
    undos: list[Undo] = []
    for module in model.modules():
        weight = module._parameters.get("weight")
        if weight is None or weight.dim() != 2 or isinstance(module, nn.Embedding):
            continue
        if by_inputs(weight.dtype, weight.device.type):
            if weight.is_contiguous():
                weight.data = laid_out(weight.data)
                undos.append(partial(_as_it_was, weight))
            if type(module) is nn.Linear and own(module):
                undos.append(replace(module, partial(product, weight=weight, bias=module.bias)))
    return undos


def _as_it_was(weight: Tensor) -> None:
    weight.data = weight.data.contiguous()
