"""Slow memory: where experts live when they are not in a slot.

Every store hands out the same record, `gate | up | down` of one expert in one contiguous piece, so that a
miss is one read and one transfer. `RamStore` is a slab in host memory, `PackedFileStore` an aligned file
made for it, `CheckpointStore` the original safetensors.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import torch

from systems.runtime.checkpoint import ByteRange, ExpertIndex, ExpertShape, as_memory, read_exactly
from systems.runtime.page_lock import PageLock, aligned


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
    """All records in one slab of host memory, `slab[id]` being uint8 of one record."""

    _lock: PageLock | None = None

    def __init__(self, source: ExpertStore, dtype: torch.dtype) -> None:
        self.shape, self.dtype = source.shape, dtype
        self.slab = aligned(self.shape.count, self.shape.record_bytes(dtype))
        staging = torch.empty(self.shape.record_bytes(source.dtype), dtype=torch.uint8)
        for expert in range(self.shape.count):
            source.read([expert], [staging])
            self.slab[expert].view(dtype).copy_(staging.view(source.dtype))

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
        files = {place.file for ranges in index.ranges for place in ranges.values()}
        self._descriptors = {file: os.open(file, os.O_RDONLY) for file in files}
        matrix = self.shape.record_bytes(self.dtype) // 3
        self._parts = {name: slice(i * matrix, (i + 1) * matrix) for i, name in enumerate(("gate", "up", "down"))}

    def read(self, experts: Sequence[int], into: Sequence[torch.Tensor]) -> None:
        """Read records with as few calls as their places in the files allow."""
        pieces: list[tuple[ByteRange, memoryview]] = []
        for expert, buffer in zip(experts, into, strict=True):
            view = as_memory(buffer)
            ranges = self._index.ranges[expert]
            pieces += [(place, view[self._parts[name]]) for name, place in ranges.items()]
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
