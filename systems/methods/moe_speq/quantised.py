"""INT4 copies of all experts, resident: of MoE-SpeQ's draft (arXiv 2511.14102, 3.1) what is not shared, and `int4`.

Symmetric, in groups of 128 inputs. The paper quantises with GPTQ; here every weight goes to the nearest of its group's
levels. Products run on torch's packed INT4 kernels in bf16, whatever the experts' dtype: rows are cast to it, and what
an expert gives is cast back. On the CPU that is as fast as an fp32 product, and other dtypes are tens of times slower;
a CUDA device's kernel takes no other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from systems.contract.errors import BadInput
from systems.methods.moe_speq.int4_kernels import check_device, kernel_for
from systems.modeling.experts import Arithmetic, Dispatch, Matrix
from systems.store.slots import Slots
from systems.store.store import ExpertStore

LEVELS = 7
"""Levels on either side of zero: symmetric INT4 uses -7 to 7 (and -8 by no weight)."""


class Int4Matrix:
    """One `(out, in)` matrix in INT4, on the device that the weight is on.

    Attributes:
        nbytes: fast memory it occupies, scales included.

    Raises:
        BadInput, Unsupported: see `kernel_for`.
    """

    def __init__(self, weight: Tensor, group: int) -> None:
        out, inputs = weight.shape
        self._kernel = kernel_for(out, inputs, group, weight.device)
        levels, scales = quantise(weight.float(), group)
        self._group = group
        both = torch.stack([scales, torch.zeros_like(scales)], -1)
        self._scale_and_zero = both.transpose(0, 1).contiguous().to(torch.bfloat16)
        self._packed = self._kernel.pack(levels + 8)

    @property
    def nbytes(self) -> int:
        """Bytes of packed levels, scales and zero points."""
        total: int = self._packed.nbytes + self._scale_and_zero.nbytes
        return total

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply bf16 rows `(n, in)` by the transposed matrix."""
        return self._kernel.multiply(rows, self._packed, self._group, self._scale_and_zero)


def quantise(weight: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Return INT4 levels `(out, in)` as int8 and scales `(out, in / group)` in the dtype of `weight`.

    The largest magnitude of a group becomes level 7, so that the error of a weight is at most half its scale.
    """
    out, inputs = weight.shape
    grouped = weight.view(out, inputs // group, group)
    scales = (grouped.abs().amax(-1) / LEVELS).clamp(min=torch.finfo(weight.dtype).tiny)
    levels = (grouped / scales[..., None]).round().clamp(-LEVELS, LEVELS)
    return levels.to(torch.int8).view(out, inputs), scales


class QuantisedExperts:
    """A `Mixer` over INT4 copies of every expert of a store.

    Hidden states of any dtype are multiplied in bf16, and what comes of it is given back in theirs.

    Args:
        group: weights that share a scale.
        device: where the copies are, and where they are made: experts travel there one by one, as they are stored.

    Attributes:
        nbytes: fast memory of all copies.

    Raises:
        BadInput, Unsupported: see `check`.
    """

    def __init__(self, store: ExpertStore, group: int, device: torch.device) -> None:
        shape = store.shape
        check(shape.hidden, shape.intermediate, group, device)
        staging = Slots(shape, store.dtype, 1, torch.device("cpu"))
        self._experts = shape.experts
        self._matrices: list[tuple[Matrix, ...]] = []
        self.nbytes = 0
        for expert in range(shape.count):
            store.read([expert], [staging.raw[0]])
            parts = [_part(part.to(device), group, shape.transposed) for part in staging.matrices[0]]
            self._matrices.append(tuple(parts))
            self.nbytes += sum(part.nbytes for part in parts)

    def __call__(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Mix the quantised experts of each token."""
        dispatch = Dispatch(chosen.tolist(), chosen.device)
        entries, tokens, order = dispatch.index()
        outputs = hidden.new_empty(len(entries), hidden.shape[-1])
        whole = (hidden.to(torch.bfloat16)[tokens], weights.reshape(-1, 1)[entries], outputs)
        parts = zip(*(rows.split(list(dispatch.needed.values())) for rows in whole), strict=True)
        for expert, (rows, shares, output) in zip(dispatch.needed, parts, strict=True):
            torch.mul(arithmetic(rows, self._matrices[layer * self._experts + expert]), shares, out=output)
        return functional.embedding(order, outputs).sum(0)


def _part(part: Tensor, group: int, transposed: bool) -> Int4Matrix | Tensor:
    """Return a matrix in INT4, a bias as the kernel's outputs are."""
    if part.dim() < 2:
        return part.to(torch.bfloat16, copy=True)  # the place it lies in is read into again
    return Int4Matrix((part.T if transposed else part).contiguous(), group)


def check(hidden: int, intermediate: int, group: int, device: torch.device) -> None:
    """Refuse shapes and devices that the INT4 kernel does not serve.

    Raises:
        BadInput: the experts' width is not a multiple of `group`.
        Unsupported: see `check_device`.
    """
    if hidden % group or intermediate % group:
        raise BadInput(
            f"group={group} of INT4 must divide the experts' hidden size {hidden} and intermediate size {intermediate}"
        )
    check_device(device)
