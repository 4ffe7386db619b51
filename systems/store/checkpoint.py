"""The experts of a checkpoint in numbers: their shape, what a record is, and the byte ranges in which each one lies."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes at `offset` of `file`."""

    file: Path
    offset: int
    length: int


@dataclass(frozen=True)
class ExpertShape:
    """The experts of one model: which layers have them, how many, and the size of their matrices.

    An expert is addressed by one integer, `ordinal_of_layer * experts + expert`, called its id. Its record is its
    parts, matrices and biases, one behind the other; without `parts` these are `gate | up` `(2 I, H)` and `down`
    `(H, I)`.
    """

    layers: tuple[int, ...]
    experts: int
    hidden: int
    intermediate: int
    parts: tuple[tuple[str, tuple[int, ...]], ...] = ()
    transposed: bool = False
    """Whether matrices are `(in, out)`."""
    by_inputs: bool = False
    """Whether matrices `(out, in)` lie input by input."""

    def __post_init__(self) -> None:
        if not self.parts:
            usual = (
                ("gate_up_proj", (2 * self.intermediate, self.hidden)),
                ("down_proj", (self.hidden, self.intermediate)),
            )
            object.__setattr__(self, "parts", usual)

    @property
    def count(self) -> int:
        """Experts in all layers."""
        return len(self.layers) * self.experts

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Elements of each part."""
        return tuple(math.prod(size) for _, size in self.parts)

    @cached_property
    def elements(self) -> int:
        """Elements of one record."""
        return sum(self.sizes)

    def record_bytes(self, dtype: torch.dtype) -> int:
        """Bytes of one record in `dtype`."""
        return self.elements * dtype.itemsize

    def split(self, record: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the parts of a record `(elements,)` as views."""
        pieces = zip(record.split(self.sizes), self.parts, strict=True)
        return tuple(self._part(piece, size) for piece, (_, size) in pieces)

    def _part(self, piece: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        if self.by_inputs and len(size) == 2:
            return piece.view(size[::-1]).T
        return piece.view(size)


@dataclass(frozen=True, slots=True)
class ExpertIndex:
    """Byte ranges of every expert: `ranges[id]` are the pieces of its record, in its order."""

    shape: ExpertShape
    dtype: torch.dtype
    ranges: tuple[tuple[ByteRange, ...], ...]


def as_memory(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a flat uint8 tensor on the host, for the kernel to write into."""
    data: Any = tensor.numpy()
    return memoryview(data)


def read_exactly(descriptor: int, buffers: list[memoryview], offset: int) -> None:
    """Fill `buffers` from consecutive bytes at `offset`, however often the kernel returns short.

    Raises:
        EOFError: the file ends before the buffers are full.
    """
    while buffers:
        done = os.preadv(descriptor, buffers, offset)
        if done == 0:
            raise EOFError(f"file ends at {offset}")
        offset += done
        while buffers and done >= len(buffers[0]):
            done -= len(buffers.pop(0))
        if done:
            buffers[0] = buffers[0][done:]
