"""Where the experts lie inside a Hugging Face checkpoint: an index over its safetensors files.

Checkpoints keep one tensor per expert and matrix, whatever the model class fuses in memory, so header
arithmetic alone gives the byte ranges of each expert and nothing has to be rewritten.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from systems.contract.errors import BadInput
from systems.runtime.weight_files import checkpoint_files, read_header

_EXPERT_TENSOR = re.compile(r"layers\.(\d+)\.(?:.+\.)?experts\.(\d+)\.(gate_proj|up_proj|down_proj|w1|w2|w3)\.weight$")
_MATRIX = {"gate_proj": "gate", "w1": "gate", "up_proj": "up", "w3": "up", "down_proj": "down", "w2": "down"}
_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes at `offset` of `file`."""

    file: Path
    offset: int
    length: int


@dataclass(frozen=True)
class ExpertShape:
    """The experts of one model: which layers have them, how many, and the size of their matrices.

    An expert is addressed by one integer, `ordinal_of_layer * experts + expert`, called its id.
    """

    layers: tuple[int, ...]
    experts: int
    hidden: int
    intermediate: int

    @property
    def count(self) -> int:
        """Experts in all layers."""
        return len(self.layers) * self.experts

    @cached_property
    def elements(self) -> int:
        """Elements of one record, `gate (I, H) | up (I, H) | down (H, I)`."""
        return 3 * self.hidden * self.intermediate

    def record_bytes(self, dtype: torch.dtype) -> int:
        """Bytes of one record in `dtype`."""
        return self.elements * dtype.itemsize


@dataclass(frozen=True, slots=True)
class ExpertIndex:
    """Byte ranges of every expert: `ranges[id]` maps gate, up and down to their place."""

    shape: ExpertShape
    dtype: torch.dtype
    ranges: tuple[dict[str, ByteRange], ...]


def index_experts(folder: Path) -> ExpertIndex:
    """Index the routed experts of a checkpoint.

    Raises:
        BadInput: no expert tensors, a truncated file, or experts of unequal shape.
    """
    found: dict[tuple[int, int], dict[str, ByteRange]] = {}
    shapes: dict[str, tuple[int, int]] = {}
    dtypes: set[str] = set()
    for file in checkpoint_files(folder):
        header, data_start = read_header(file)
        for name, entry in header.items():
            match = _EXPERT_TENSOR.search(name)
            if match is None:
                continue
            matrix = _MATRIX[match[3]]
            begin, end = entry["data_offsets"]
            place = ByteRange(file, data_start + begin, end - begin)
            found.setdefault((int(match[1]), int(match[2])), {})[matrix] = place
            if shapes.setdefault(matrix, tuple(entry["shape"])) != tuple(entry["shape"]):
                raise BadInput(f"{file}: {name} has shape {entry['shape']}, other experts {shapes[matrix]}")
            dtypes.add(entry["dtype"])
    if not found:
        raise BadInput(f"{folder} holds no routed experts; `model.target` must be a Mixture-of-Experts checkpoint")
    return _assemble(folder, found, shapes, dtypes)


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


def _assemble(
    folder: Path,
    found: dict[tuple[int, int], dict[str, ByteRange]],
    shapes: dict[str, tuple[int, int]],
    dtypes: set[str],
) -> ExpertIndex:
    layers = sorted({layer for layer, _ in found})
    experts = 1 + max(expert for _, expert in found)
    if len(dtypes) != 1 or (dtype := _DTYPES.get(next(iter(dtypes)))) is None:
        raise BadInput(f"{folder}: experts are stored as {sorted(dtypes)}; one of {sorted(_DTYPES)} is needed")
    ranges = []
    for layer in layers:
        for expert in range(experts):
            matrices = found.get((layer, expert), {})
            if missing := {"gate", "up", "down"} - matrices.keys():
                raise BadInput(f"{folder}: layer {layer} expert {expert} lacks {sorted(missing)}")
            ranges.append(matrices)
    intermediate, hidden = shapes["gate"]
    return ExpertIndex(ExpertShape(tuple(layers), experts, hidden, intermediate), dtype, tuple(ranges))
