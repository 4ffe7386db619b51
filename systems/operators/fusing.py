"""Which modules of a model compute by fewer operators: decided when it is loaded, by reading a text as they did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from systems.operators.attention import attend_without_copies
from systems.operators.calls import call_directly
from systems.operators.layout import lay_out
from systems.operators.norms import fuse_norms
from systems.operators.projections import merge_projections
from systems.operators.replacing import Read, Undo
from systems.operators.rotation import rotate_together

Install = Callable[[Any, Read], list[Undo]]
"""Lets what it finds in a model compute otherwise."""
_KINDS: dict[str, Install] = {
    "projections": merge_projections,
    "layout": lay_out,
    "norms": fuse_norms,
    "rotation": rotate_together,
    "attention": attend_without_copies,
    "calls": call_directly,
}
_CLOSE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""How far apart logits may be, of the largest, by dtype: what roundings add up to over many layers."""


def fuse(model: Any, read: Read) -> dict[str, int]:
    """Replace what a model's modules compute by fewer operators, where its logits stay the same but for rounding.

    Returns:
        By kind of operator how many modules compute by it.
    """
    stock = read(model)
    undos = {kind: install(model, read) for kind, install in _KINDS.items()}
    if not _agree(model, read, stock):
        for kind in reversed(undos):
            _undo(undos[kind])
        undos = {kind: _tried(install, model, read, stock) for kind, install in _KINDS.items()}
    return {kind: len(some) for kind, some in undos.items()}


def _tried(install: Install, model: Any, read: Read, stock: Tensor) -> list[Undo]:
    """Install one kind, and undo it if it is the one by which the model reads otherwise."""
    undos = install(model, read)
    if undos and not _agree(model, read, stock):
        _undo(undos)
    return undos


def _undo(undos: list[Undo]) -> None:
    while undos:
        undos.pop()()


def _agree(model: Any, read: Read, stock: Tensor) -> bool:
    """Whether a model still reads as it did."""
    try:
        found = read(model)
    except Exception:  # a module that asks of its parts what nobody can foresee
        return False
    return bool((found - stock).abs().max() <= _CLOSE[model.dtype] * stock.abs().max())
