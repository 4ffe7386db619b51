"""Slow memory: where experts live when they are not in a slot.

Every store hands out the same record, the matrices and biases of one expert in one contiguous piece, so that a
miss is one read and one transfer. `RamStore` is a slab in host memory, `PackedFileStore` an aligned file
made for it, `CheckpointStore` the original safetensors.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import torch

from systems.store.checkpoint import ByteRange, ExpertIndex, ExpertShape, as_memory, read_exactly
from systems.store.page_lock import PageLock, aligned


class ExpertStore(Protocol):
    """Read-only records of all experts of a model."""

    shape: ExpertShape
    dtype: torch.dtype

    def read(self, experts: Sequence[int], into: Sequence[torch.Tensor]) -> None:
        """Copy the records of these expert ids into flat uint8 tensors, with one I/O call for those that are adjacent.

        Blocks without holding the interpreter lock.
        """

    def close(self) -> None:
        """Release files and memory."""


class RamStore:
    """All records in one slab of host memory, `slab[id]` being uint8 of one record; empty until `put` has filled it."""

    _lock: PageLock | None = None

    def __init__(self, shape: ExpertShape, dtype: torch.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self.slab = aligned(shape.count, shape.record_bytes(dtype))

    def put(self, layer: int, part: int, weights: torch.Tensor) -> None:
        """Lay down a part of all experts of a layer, the expert being the first dimension (or the first rows)."""
        shape, size = self.shape, self.shape.sizes[part]
        start = sum(shape.sizes[:part])
        rows = self.slab[layer * shape.experts : (layer + 1) * shape.experts].view(self.dtype)
        views = rows[:, start : start + size]
        if shape.by_inputs and len(sides := shape.parts[part][1]) == 2:
            views.unflatten(1, sides[::-1]).mT.copy_(weights.reshape(-1, *sides)[: shape.experts])
        else:
            views.copy_(weights.reshape(-1, size)[: shape.experts])

    def record(self, expert: int) -> torch.Tensor:
        """The bytes of an expert, where they lie."""
        return self.slab[expert]

    def read(self, experts: Sequence[int], into: Sequence[torch.Tensor]) -> None:
        """Copy records out of the slab."""
        for expert, buffer in zip(experts, into, strict=True):
            buffer.copy_(self.record(expert))

    def page_lock(self) -> None:
        """Let a CUDA device read the slab by itself from now on, until the store is closed. Idempotent.

        Raises:
            BadInput: the operating system refuses to lock that much memory.
        """
        if self._lock is None:
            self._lock = PageLock(self.slab)

    def close(self) -> None:
        """Drop the slab. Copies from it must have ended: whoever moves records is closed first."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self.slab = torch.empty(0, dtype=torch.uint8)


class CheckpointStore:
    """Records read straight from the original safetensors: no copy on disk, no conversion.

    Matrices that lie side by side in the file (they do in files written by transformers) are read by one
    `preadv` that scatters them into the order of the record.
    """

    def __init__(self, index: ExpertIndex) -> None:
        self.shape, self.dtype = index.shape, index.dtype
        self._index = index
        files = {place.file for ranges in index.ranges for place in ranges}
        self._descriptors = {file: os.open(file, os.O_RDONLY) for file in files}

    def read(self, experts: Sequence[int], into: Sequence[torch.Tensor]) -> None:
        """Read records with as few calls as their places in the files allow."""
        pieces: list[tuple[ByteRange, memoryview]] = []
        for expert, buffer in zip(experts, into, strict=True):
            view, end = as_memory(buffer), 0
            for place in self._index.ranges[expert]:
                end += place.length
                pieces.append((place, view[end - place.length : end]))
        pieces.sort(key=lambda piece: (str(piece[0].file), piece[0].offset))
        for run in _adjacent(pieces):
            place = run[0][0]
            read_exactly(self._descriptors[place.file], [view for _, view in run], place.offset)

    def close(self) -> None:
        """Close the files."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


def _adjacent(pieces: list[tuple[ByteRange, memoryview]]) -> list[list[tuple[ByteRange, memoryview]]]:
    runs: list[list[tuple[ByteRange, memoryview]]] = []
    for piece in pieces:
        last = runs[-1][-1][0] if runs else None
        if last and last.file == piece[0].file and last.offset + last.length == piece[0].offset:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return runs
