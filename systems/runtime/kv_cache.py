"""Keys and values at positions, not in sequence: rollback is a change of length.

Each row of a batch writes at its own positions and reads what lies at or before them. Whatever a rejected
draft, a padding token or an earlier row left behind lies after every later query until it is overwritten, so rows may
accept different numbers of tokens, leave and join, and nothing is ever cropped; a row is copied only to take the seat
of one that has left.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor


class PositionalCache:
    """Keys and values of one model for a batch; stands in for transformers' `Cache`.

    Args:
        rows: most rows at once.
        capacity: positions per row, drafts included.
    """

    is_compileable = False

    def __init__(self, rows: int, capacity: int) -> None:
        self._most, self.capacity = rows, capacity
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._rows = slice(0, 0)
        self._positions = torch.empty(0)
        self._first: int | None = 0
        self._width = self._end = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values; 0 before the first forward."""
        return sum(tensor.nbytes for store in (self._keys, self._values) for tensor in store.values())

    def beside(self) -> PositionalCache:
        """The same keys and values for another forward at the same time, over other rows."""
        return copy(self)

    def begin(self, starts: Sequence[int], width: int, device: torch.device, first: int = 0) -> Tensor:
        """Prepare a forward of `width` tokens for `len(starts)` rows from `first` on, each from its start on.

        Returns:
            Positions `(B, width)`.
        """
        self._rows, self._width = slice(first, first + len(starts)), width
        self._end = max(starts) + width
        if self._end > self.capacity:
            raise ValueError(f"position {self._end} is beyond the cache's {self.capacity}")
        offsets = torch.arange(width, device=device)
        self._positions = torch.tensor(starts, device=device)[:, None] + offsets
        self._first = starts[0] if len(set(starts)) == 1 else None
        return self._positions

    def mask(self) -> Tensor:
        """Return the mask `(B, 1, width, end)` of the forward in preparation, True where a query may read."""
        visible = torch.arange(self._end, device=self._positions.device) <= self._positions[:, :, None]
        return visible[:, None]

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write `(B, heads, width, dim)` at the prepared positions; return all up to the last of them."""
        return self._write(self._keys, layer_idx, keys), self._write(self._values, layer_idx, values)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the positions before the forward in progress; for models that ask."""
        return self._end - self._width

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order; only those that take another's place are copied."""
        moved = [(place, row) for place, row in enumerate(rows) if place != row]
        places, sources = [place for place, _ in moved], [row for _, row in moved]
        for store in (self._keys, self._values):
            for tensor in store.values() if moved else ():
                tensor[places] = tensor[sources]

    def _write(self, store: dict[int, Tensor], layer: int, new: Tensor) -> Tensor:
        if layer not in store:
            _, heads, _, dim = new.shape
            store[layer] = new.new_zeros(self._most, heads, self.capacity, dim)
        kept = store[layer][self._rows]
        if self._first is not None:
            kept[:, :, self._first : self._first + self._width] = new
        else:
            row = torch.arange(len(kept), device=new.device)[:, None]
            kept[row, :, self._positions] = new.transpose(1, 2)
        return kept[:, :, : self._end]
