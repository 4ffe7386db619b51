"""Page-locking of host memory, which a CUDA device needs to read it by itself, and its end."""

from __future__ import annotations

import ctypes
import math
import mmap
import weakref
from contextlib import suppress

import torch

from systems.contract.errors import BadInput

CHUNK = 2**30
"""Bytes locked by one call at most: a single call for 512 GiB fails (vllm-project/vllm#51081)."""


def aligned(rows: int, row_bytes: int) -> torch.Tensor:
    """Return host memory `(rows, row_bytes)` of uint8 that begins where a page does, uninitialised."""
    size = rows * row_bytes
    memory = torch.empty(size + mmap.PAGESIZE, dtype=torch.uint8)
    start = -memory.data_ptr() % mmap.PAGESIZE
    return memory[start : start + size].view(rows, row_bytes)


class PageLock:
    """Keeps `memory` `(rows, bytes)`, uint8, page-locked until it is released, at the latest when it is collected.

    The memory lives as long: what is freed while it is locked stays so under the same address, and the device would
    read the old pages of whoever is given it next.

    Raises:
        BadInput: the operating system refuses to lock that much memory; nothing stays locked then.
    """

    def __init__(self, memory: torch.Tensor) -> None:
        self._memory, locked = memory, list[int]()
        self._release = weakref.finalize(self, _unlock, locked)
        start = memory.data_ptr()
        for offset, size in chunks(*memory.shape):
            status = int(torch.cuda.cudart().cudaHostRegister(start + offset, size, 0))
            if status:
                self.release()
                _forget_error()
                raise BadInput(
                    f"cannot page-lock {memory.nbytes:,} B of host memory (CUDA error {status} at byte {offset:,}); "
                    "raise ulimit -l, or free memory"
                )
            locked.append(start + offset)
        if not (is_locked(start) and is_locked(start + memory.nbytes - 1)):
            self.release()
            raise BadInput(f"{memory.nbytes:,} B of host memory were page-locked, and the device does not know of it")

    def release(self) -> None:
        """Undo it. Idempotent; copies from the memory must have ended."""
        self._release()


def is_locked(address: int) -> bool:
    """Whether torch takes the memory at an address for page-locked. Of a tensor it asks where its storage begins, which
    for a part of a larger one is elsewhere: it is asked of a storage that begins there."""
    byte = (ctypes.c_uint8 * 1).from_address(address)
    return torch.frombuffer(byte, dtype=torch.uint8).is_pinned()


def chunks(rows: int, row_bytes: int, most: int = CHUNK) -> list[tuple[int, int]]:
    """Cut `rows` of `row_bytes` into pieces of at most `most` bytes; return offset and size of each.

    A copy may not cross from one locked piece to another, and two pieces may not share a page: pieces end where a row
    and a page end both. Where that is nowhere within `most` bytes there is one piece.
    """
    total, step = rows * row_bytes, math.lcm(row_bytes, mmap.PAGESIZE)
    size = most // step * step or total
    return [(offset, min(size, total - offset)) for offset in range(0, total, size)]


def _unlock(locked: list[int]) -> None:
    while locked:
        torch.cuda.cudart().cudaHostUnregister(locked.pop())


def _forget_error() -> None:
    """A call that failed leaves its error behind, which the next kernel would be blamed for: let one take it."""
    with suppress(RuntimeError):
        torch.zeros(1, device="cuda")
