"""Stand-ins for the two functions of torch that multiply by packed INT4 on a CUDA device: on tensors of the host, or of
no memory at all.

They ask for what the device's code asks for, and lay codes out as it does. A tensor core's tile of weights is 8 outputs
by 16 inputs. Of a pair of tiles, side by side, each of 32 threads holds 8 codes in an int32: thread t those of output
t // 4 whose bytes are t % 4, and 4, 8 and 12 further, the upper halves of the four in the lower 16 bits.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

GROUPS = (32, 64, 128, 256)
UP, LOW = (0, 4, 8, 12), (16, 20, 24, 28)
"""How far the halves of the four bytes are shifted."""


class FakeInt4:
    """Both functions.

    Attributes:
        packed: how many matrices were packed.
        multiplied: how many products were computed.
    """

    def __init__(self) -> None:
        self.packed = self.multiplied = 0

    def pack(self, weight: Tensor, inner_tiles: int) -> Tensor:
        """`_convert_weight_to_int4pack`: of uint8 `(n, k / 2)` int32 `(n / 8, k / (16 * tiles), 32, tiles / 2)`."""
        assert weight.dim() == 2
        assert weight.dtype == torch.uint8
        assert weight.is_contiguous()
        assert inner_tiles in (2, 4, 8)
        outputs, bytes_ = weight.shape
        assert outputs % 8 == 0
        assert bytes_ % (8 * inner_tiles) == 0
        self.packed += 1
        parts = weight.view(outputs // 8, 8, -1, inner_tiles // 2, 4, 4).permute(0, 2, 1, 5, 3, 4).to(torch.int64)
        codes = parts.reshape(outputs // 8, -1, 32, inner_tiles // 2, 4)
        up, low = torch.tensor((UP, LOW)).to(weight.device)
        words = ((codes >> 4) << up).sum(-1) + ((codes & 15) << low).sum(-1)
        return torch.where(words < 1 << 31, words, words - (1 << 32)).to(torch.int32)

    def multiply(self, rows: Tensor, packed: Tensor, group: int, scales: Tensor) -> Tensor:
        """`_weight_int4pack_mm`: bf16 `(m, k)` by the transpose of what was packed, `(m, n)`."""
        assert rows.device == packed.device == scales.device
        assert rows.dtype == scales.dtype == torch.bfloat16
        assert packed.dtype == torch.int32
        assert rows.is_contiguous()
        assert packed.is_contiguous()
        assert scales.is_contiguous()
        assert rows.dim() == 2
        assert packed.dim() == 4
        outputs, inputs, tiles = 8 * packed.shape[0], rows.shape[1], 2 * packed.shape[3]
        assert tiles in (2, 4, 8)
        assert packed.shape[1:3] == (inputs // (tiles * 16), 32)
        assert group in GROUPS
        assert inputs % group == 0
        assert scales.shape == (inputs // group, outputs, 2)
        self.multiplied += 1
        levels = unpack(packed) - 8
        scale, zero = (part.T.float().repeat_interleave(group, 1) for part in scales.unbind(-1))
        weight = (levels * scale + zero).to(torch.bfloat16)  # a fused multiply-add, rounded once
        return (rows.float() @ weight.float().T).to(torch.bfloat16)


def unpack(packed: Tensor) -> Tensor:
    """Return codes `(n, k)`, from where each thread looks for its own."""
    blocks, steps, threads, words = packed.shape
    codes = torch.full((blocks * 8, steps * words * 32), -1, dtype=torch.int32, device=packed.device)
    block, step, thread, word = torch.meshgrid(
        *(torch.arange(size, device=packed.device) for size in (blocks, steps, threads, words)), indexing="ij"
    )
    for shift in range(8):  # even inputs come first
        half, byte = divmod(shift, 4)
        inputs = (step * words + word) * 32 + 2 * (thread % 4 + 4 * byte) + half
        codes[block * 8 + thread // 4, inputs] = packed >> 4 * shift & 15
    return codes


def install(monkeypatch: pytest.MonkeyPatch, device: str = "cpu") -> FakeInt4:
    """Let matrices on this type of device be packed and multiplied as on a CUDA device from now on."""
    from systems.methods.moe_speq.int4_kernels import KERNELS

    fake = FakeInt4()
    monkeypatch.setattr(torch.ops.aten, "_convert_weight_to_int4pack", fake.pack)
    monkeypatch.setattr(torch.ops.aten, "_weight_int4pack_mm", fake.multiply)
    monkeypatch.setitem(KERNELS, device, KERNELS["cuda"])
    return fake
