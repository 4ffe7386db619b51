"""Queries and keys turned by their positions together, in half the operators of the families' own function.

Attention modules look that function up in their file; those of this model alone are given another.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from systems.operators.replacing import Read, Undo, meaning, nearest, with_other

_NAME = "apply_rotary_pos_emb"
"""The function's name in transformers."""


def rotate_together(model: Any, read: Read) -> list[Undo]:
    """Let a model's attention modules turn queries and keys together, where their own function does the same."""
    rotations: dict[Any, Rotation] = {}
    undos = []
    for module in model.modules():
        if (stock := meaning(module, _NAME)) is not None:
            rotation = rotations.setdefault(stock, Rotation(stock))
            if rotation.agrees(model.dtype, model.device):
                undos.append(with_other(module, _NAME, rotation))
    return undos


class Rotation:
    """Turns halves of vectors against each other: `x cos + (-x2 | x1) sin`.

    Cosines and sines are the same for all layers of a forward: what can be made of them once is kept. At one position
    it is a matrix.

    Args:
        stock: the family's own function, which computes whatever this is not made for.
    """

    def __init__(self, stock: Any) -> None:
        self._stock = stock
        self._latest: tuple[Tensor, Tensor, int, tuple[Tensor, ...]] | None = None

    def __call__(
        self, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *others: Any, unsqueeze_dim: int = 1, **named: Any
    ) -> tuple[Tensor, Tensor]:
        """Turn queries and keys, both `(B, heads, T, D)` or both `(B, T, heads, D)`, by `(B, T, D)`."""
        alike = cos.dtype == q.dtype == k.dtype and cos.shape[-1] == q.shape[-1] == k.shape[-1]
        if others or named or not alike:
            return self._stock(q, k, cos, sin, *others, unsqueeze_dim=unsqueeze_dim, **named)  # type: ignore[no-any-return]
        latest = self._latest
        if latest is None or latest[0] is not cos or latest[1] is not sin or latest[2] != unsqueeze_dim:
            self._latest = latest = cos, sin, unsqueeze_dim, _prepared(cos, sin, unsqueeze_dim)
        if len(latest[3]) == 1:
            matrix = latest[3][0]
            return q @ matrix, k @ matrix
        cosines, sines = latest[3]
        both = torch.cat((q, k), unsqueeze_dim)
        turned = both * cosines + both.roll(cos.shape[-1] // 2, -1) * sines
        queries, keys = turned.split((q.shape[unsqueeze_dim], k.shape[unsqueeze_dim]), unsqueeze_dim)
        return queries, keys

    def agrees(self, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether the family's function does the same, in both orders of dimensions, at several positions and one."""
        generator = torch.Generator().manual_seed(0)
        try:
            for rows, positions in ((2, 5), (1, 1)):
                q, k, cos, sin = (
                    torch.randn(*size, 8, generator=generator).to(device, dtype)
                    for size in ((rows, 4, positions), (rows, 2, positions), (rows, positions), (rows, positions))
                )
                for heads, (queries, keys) in ((1, (q, k)), (2, (q.transpose(1, 2), k.transpose(1, 2)))):
                    wanted = self._stock(queries, keys, cos, sin, unsqueeze_dim=heads)
                    given = self(queries, keys, cos, sin, unsqueeze_dim=heads)
                    if any(nearest(stock, [ours]) is None for stock, ours in zip(wanted, given, strict=True)):
                        return False
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
            return False  # a function of the name that is called otherwise
        return True


def _prepared(cos: Tensor, sin: Tensor, dim: int) -> tuple[Tensor, ...]:
    """Return the matrix that turns vectors at the one position; else cosines as they are multiplied, and sines with the
    sign that the halves change by. Short numbers would be rounded otherwise by a matrix."""
    width = cos.shape[-1]
    first, second = sin.chunk(2, -1)
    signed = torch.cat((-first, second), -1)
    if cos.numel() == width and cos.dtype == torch.float32:
        same = torch.eye(width, device=cos.device)
        return (same * cos.view(-1) + same.roll(width // 2, 0) * signed.view(-1),)
    return cos.unsqueeze(dim), signed.unsqueeze(dim)
