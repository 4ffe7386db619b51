"""Keys and values at positions, not in sequence: rollback is a change of length.

Each row of a batch writes at its own positions and reads what lies at or before them. Whatever a rejected
draft or a padding token left behind lies after every later query until it is overwritten, so rows may accept
different numbers of tokens and nothing is ever cropped or copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class PositionalCache:
    """Keys and values of one model for a batch; stands in for transformers' `Cache`.

    Args:
        rows: batch size.
        capacity: positions per row, drafts included.
    """

    is_compileable = False

    def __init__(self, rows: int, capacity: int) -> None:
        self.rows, self.capacity = rows, capacity
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._row: Tensor | None = None
        self._positions = torch.empty(0)
        self._first: int | None = 0
        self._select: int | None = None
        self._width = self._end = 0

    def begin(
        self, starts: Sequence[int], width: int, device: torch.device, row: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Prepare a forward of `width` tokens per row, the first of them at `starts[row]`.

        Args:
            row: serve this row alone (prefill); `starts` then has one entry.

        Returns:
            Positions `(B, width)` and the mask `(B, 1, width, end)`, True where a query may read.
        """
        self._select, self._width = row, width
        self._end = max(starts) + width
        if self._end > self.capacity:
            raise ValueError(f"position {self._end} is beyond the cache's {self.capacity}")
        offsets = torch.arange(width, device=device)
        self._positions = torch.tensor(starts, device=device)[:, None] + offsets
        self._first = starts[0] if len(set(starts)) == 1 else None
        mask = torch.arange(self._end, device=device) <= self._positions[:, :, None]
        return self._positions, mask[:, None]

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write `(B, heads, width, dim)` at the prepared positions; return all up to the last of them."""
        return self._write(self._keys, layer_idx, keys), self._write(self._values, layer_idx, values)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the positions before the forward in progress; for models that ask."""
        return self._end - self._width

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other rows, which have finished."""
        index = list(rows)
        self.rows = len(index)
        self._row = None
        for store in (self._keys, self._values):
            for layer, tensor in store.items():
                store[layer] = tensor[index].contiguous()

    def _write(self, store: dict[int, Tensor], layer: int, new: Tensor) -> Tensor:
        if layer not in store:
            _, heads, _, dim = new.shape
            store[layer] = new.new_zeros(self.rows, heads, self.capacity, dim)
        kept = store[layer] if self._select is None else store[layer][self._select : self._select + 1]
        if self._first is not None:
            kept[:, :, self._first : self._first + self._width] = new
        else:
            if self._row is None:
                self._row = torch.arange(self.rows, device=new.device)[:, None]
            kept[self._row, :, self._positions] = new.transpose(1, 2)
        return kept[:, :, : self._end]
