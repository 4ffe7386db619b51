"""What a device's allocator says: how much a system takes there, measured and not declared, and when it is full."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXHAUSTED = (
    "the device has no memory left beside what else is there: {}; lower `budget`, compare fewer systems at once, or "
    "choose shorter prompts or a smaller batch"
)


class DeviceMemory:
    """Bytes that one system holds on a device, beside those of others.

    Args:
        device: as in `model.device`; on a CPU nothing is measured.

    Attributes:
        peak: most bytes that the system held, workspaces and keys and values included; None where nobody measures.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._measured = device.startswith("cuda")
        self._built = 0
        self.peak: int | None = 0 if self._measured else None

    @contextmanager
    def built(self) -> Iterator[None]:
        """While a system is built inside: what stays allocated is the system's."""
        before = self._stats()[0]
        yield
        self._built = self._stats()[0] - before
        self._note(self._built)

    @contextmanager
    def used(self) -> Iterator[None]:
        """While a system works inside: the most that it allocates besides is the system's, too."""
        before = self._stats(reset=True)[0]
        yield
        self._note(self._built + self._stats()[1] - before)

    def _note(self, held: int) -> None:
        if self.peak is not None:
            self.peak = max(self.peak, held)

    def _stats(self, reset: bool = False) -> tuple[int, int]:
        """Bytes allocated now, and at most since the last reset."""
        if not self._measured:
            return 0, 0
        import torch

        device = torch.device(self._device)
        if reset:
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that a device's memory is full."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def give_back() -> None:
    """Hand what closed systems have held back to the device: the allocator of torch keeps it, and collects nothing."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
