"""Small tables of the host, on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def upload(numbers: Sequence[Any], device: torch.device, dtype: torch.dtype = torch.long) -> Tensor:
    """Return numbers, or rows of them, as a tensor on a device.

    They travel from page-locked memory behind what the device has been given to compute; the host waits for neither,
    as it would with `torch.tensor(numbers, device=device)`.
    """
    locked = device.type == "cuda"
    return torch.tensor(numbers, dtype=dtype, pin_memory=locked).to(device, non_blocking=locked)
