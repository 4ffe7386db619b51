"""Torch's products of bf16 rows with packed INT4 matrices: one for the host, and one for CUDA devices.

Either is given codes of 0 to 15, where 8 is zero, and scales and zero points `(in / group, out, 2)` in bf16; how the
codes lie in memory is the kernel's own. On a device each weight, `(code - 8) * scale + zero`, is rounded to bf16 before
it is multiplied, and products are added up in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from systems.contract.errors import BadInput, Unsupported
from systems.contract.options import INT4_GROUPS

K_TILE = 16
"""Inputs of a tile of a device's tensor cores."""
CAPABILITY = (8, 0)
"""Of the oldest devices whose tensor cores know bf16."""


@dataclass(frozen=True, slots=True)
class Int4Kernel:
    """How a kind of device multiplies.

    Attributes:
        rows: what a matrix's outputs must be a multiple of.
        pack: lays out codes `(out, in)`, int8.
        multiply: bf16 rows `(n, in)` by the transpose of a packed matrix, given its group, scales and zero points.
    """

    rows: int
    pack: Callable[[Tensor], Tensor]
    multiply: Callable[[Tensor, Tensor, int, Tensor], Tensor]


def _pack_on_host(codes: Tensor) -> Tensor:
    packed: Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.to(torch.int32), 1)
    return packed


def _multiply_on_host(rows: Tensor, packed: Tensor, group: int, scales: Tensor) -> Tensor:
    product: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, packed, group, scales)
    return product


def _pack_on_device(codes: Tensor) -> Tensor:
    packed: Tensor = torch.ops.aten._convert_weight_to_int4pack(pairs(codes), inner_tiles(codes.shape[1]))
    return packed


def _multiply_on_device(rows: Tensor, packed: Tensor, group: int, scales: Tensor) -> Tensor:
    product: Tensor = torch.ops.aten._weight_int4pack_mm(rows.contiguous(), packed, group, scales)
    return product


KERNELS = {
    "cpu": Int4Kernel(16, _pack_on_host, _multiply_on_host),
    "cuda": Int4Kernel(8, _pack_on_device, _multiply_on_device),
}
"""By type of device."""


def pairs(codes: Tensor) -> Tensor:
    """Return codes `(out, in)` as uint8 `(out, in / 2)`: of two neighbours the first is the upper half."""
    halves = codes.to(torch.uint8)
    return halves[:, ::2] << 4 | halves[:, 1::2]


def inner_tiles(inputs: int) -> int:
    """Return how many tiles of inputs lie side by side: as many as a thread loads at once, if they divide `inputs`."""
    return next(tiles for tiles in (8, 4, 2) if inputs % (tiles * K_TILE) == 0)


def kernel_for(out: int, inputs: int, group: int, device: torch.device) -> Int4Kernel:
    """Return what multiplies by a matrix of this size.

    Raises:
        BadInput: no kernel takes the size or the group.
        Unsupported: see `check_device`.
    """
    check_device(device)
    kernel = KERNELS[device.type]
    if group not in INT4_GROUPS or inputs % group or out % kernel.rows:
        raise BadInput(
            f"INT4 takes groups of {', '.join(map(str, INT4_GROUPS))} weights, and on device={device.type} matrices of"
            f" a multiple of {kernel.rows} outputs and of a group's inputs; not {out} x {inputs} in groups of {group}"
        )
    return kernel


def check_device(device: torch.device) -> None:
    """Refuse devices for which torch has no INT4 kernel.

    Raises:
        Unsupported: another kind than those of `KERNELS`, or a CUDA device that is too old.
    """
    if device.type not in KERNELS:
        raise Unsupported(f"torch has no INT4 kernel for device={device.type}; set model.device=cpu or cuda")
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < CAPABILITY:
        raise Unsupported("INT4 experts need a device of compute capability 8.0 or newer; set model.device=cpu")
