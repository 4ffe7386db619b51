"""Forwards of a batch in parts, each in a thread of its own.

Threads pay where operators are long enough to release the interpreter lock for most of the time, and where there are
processors for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from systems.modeling.decoder import Decoder


class SplitDecoder(Decoder):
    """Computes the rows in `parts` neighbouring groups at the same time; prompts are read as ever.

    The rows of all parts lie in one cache, so they may leave, join and be divided anew at every forward.
    """

    _masked = True

    def __init__(self, model: Any, rows: int, capacity: int, parts: int) -> None:
        super().__init__(model, rows, capacity)
        self._parts = parts
        self._pool = ThreadPoolExecutor(max_workers=parts, thread_name_prefix="part")

    def forward(self, tokens: Tensor, starts: Sequence[int]) -> Tensor:
        """Read `tokens` `(B, T)`, row b at positions `starts[b]...`; return the logits `(B, T, V)`."""
        parts = divide(len(starts), self._parts)
        running = [self._pool.submit(self._run, tokens[part], list(starts[part]), part.start) for part in parts]
        return torch.cat([part.result() for part in running])

    @torch.inference_mode()  # which holds for one thread
    def _run(self, tokens: Tensor, starts: list[int], first: int) -> Tensor:
        """Compute the rows from `first` on."""
        return self._forward(self._cache.beside(), tokens, starts, first, masked=self._masked)


def divide(rows: int, parts: int) -> list[slice]:
    """Return up to `parts` slices of neighbouring rows, none empty, of sizes that differ by one at most."""
    bounds = [rows * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds) if stop > start]
