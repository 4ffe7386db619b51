"""INT4 copies of all experts, resident: of MoE-SpeQ's draft (arXiv 2511.14102, 3.1) what is not shared, and `int4`.

Symmetric, in groups of 128 inputs. The paper quantises with GPTQ; here every weight goes to the nearest of its group's
levels. Products run on torch's packed INT4 kernel for the CPU in bf16, where it is as fast as an fp32 product; in
other dtypes it is tens of times slower.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from systems.contract.errors import BadInput, Unsupported
from systems.modeling.experts import Arithmetic, Dispatch, Matrix
from systems.store.slots import Slots
from systems.store.store import ExpertStore

LEVELS = 7
"""Levels on either side of zero: symmetric INT4 uses -7 to 7 (and -8 by no weight)."""


class Int4Matrix:
    """One `(out, in)` matrix in INT4.

    Attributes:
        nbytes: fast memory it occupies, scales included.
    """

    def __init__(self, weight: Tensor, group: int) -> None:
        levels, scales = quantise(weight.float(), group)
        self._group = group
        both = torch.stack([scales, torch.zeros_like(scales)], -1)
        self._scale_and_zero = both.transpose(0, 1).contiguous().to(torch.bfloat16)
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu((levels + 8).to(torch.int32), 1)

    @property
    def nbytes(self) -> int:
        """Bytes of packed levels, scales and zero points."""
        total: int = self._packed.nbytes + self._scale_and_zero.nbytes
        return total

    def __call__(self, rows: Tensor) -> Tensor:
        """Multiply bf16 rows `(n, in)` by the transposed matrix."""
        product: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            rows, self._packed, self._group, self._scale_and_zero
        )
        return product


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

    Args:
        group: weights that share a scale.

    Attributes:
        nbytes: fast memory of all copies.

    Raises:
        BadInput: see `check`.
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
            parts = [_part(part, group, shape.transposed) for part in staging.matrices[0]]
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
        Unsupported: torch has no INT4 kernel for the device.
    """
    if hidden % group or intermediate % group:
        raise BadInput(
            f"group={group} of INT4 must divide the experts' hidden size {hidden} and intermediate size {intermediate}"
        )
    if device.type != "cpu":
        raise Unsupported("INT4 experts run on the CPU only so far; set model.device=cpu")
