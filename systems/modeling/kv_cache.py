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

from systems.modeling.states import States
from systems.operators.uploading import upload


class RaggedLengths(Exception):
    """A model has asked how long the text before a forward is, and its rows differ in that."""


class PositionalCache:
    """Keys and values of one model for a batch; stands in for transformers' `Cache`.

    Args:
        rows: most rows at once.
        capacity: positions per row, drafts included.
        states: what recurrences and convolutions of the model keep; None: it has none.
    """

    is_compileable = False

    def __init__(self, rows: int, capacity: int, states: States | None = None) -> None:
        self._most, self.capacity, self.states = rows, capacity, states
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._indexed: dict[int, Tensor] = {}
        """Keys by which an indexer chooses what attention reads: `(rows, 1, capacity, dim)`."""
        self._rows = slice(0, 0)
        self._positions = torch.empty(0)
        self._first: int | None = 0
        self._width = self._end = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values; 0 before the first forward."""
        return sum(tensor.nbytes for store in self._stores for tensor in store.values())

    def beside(self) -> PositionalCache:
        """The same keys and values for another forward at the same time, over other rows."""
        other = copy(self)
        other.states = None if self.states is None else self.states.beside()
        return other

    def begin(self, starts: Sequence[int], width: int, device: torch.device, first: int = 0) -> Tensor:
        """Prepare a forward of `width` tokens for `len(starts)` rows from `first` on, each from its start on.

        Returns:
            Positions `(B, width)`.
        """
        self._rows, self._width = slice(first, first + len(starts)), width
        self._end = max(starts) + width
        if self._end > self.capacity:
            raise ValueError(f"position {self._end} is beyond the cache's {self.capacity}")
        self._first = starts[0] if len(set(starts)) == 1 else None
        if len(starts) == 1:
            self._positions = torch.arange(starts[0], self._end, device=device)[None]
        else:
            self._positions = upload(starts, device)[:, None] + torch.arange(width, device=device)
        if self.states is not None:
            self.states.begin(starts, width, first)
        return self._positions

    def begin_at(self, positions: Tensor, end: int) -> None:
        """Prepare a forward at positions `(B, width)` that only the device knows, for the first rows, over the first
        `end` positions of each: those behind a row's own have to be masked."""
        self._rows, self._width, self._end = slice(0, len(positions)), positions.shape[1], end
        self._positions, self._first = positions, None

    @property
    def end(self) -> int:
        """Where the forward in preparation ends: behind the last position of the longest row."""
        return self._end

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write `(B, heads, width, dim)` at the prepared positions; return all up to the last of them."""
        return self._write(self._keys, layer_idx, keys), self._write(self._values, layer_idx, values)

    def update_indexer(self, keys: Tensor, layer_idx: int) -> Tensor:
        """Write `(B, width, dim)` at the prepared positions; return all up to the last of them."""
        return self._write(self._indexed, layer_idx, keys[:, None])[:, 0]

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """Return a convolution's state before the token that is read; None: a text begins."""
        layer = self._with_states(layer_idx)
        return layer.conv_states[state_idx] if layer.has_previous_state[state_idx] else None

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """Return a recurrence's state before the token that is read; None: a text begins."""
        layer = self._with_states(layer_idx)
        return layer.recurrent_states[state_idx] if layer.has_previous_state[state_idx] else None

    def update_conv_state(self, conv_states: Tensor, layer_idx: int, state_idx: int = 0, **named: Any) -> Tensor:
        """Take the inputs of a convolution; return them behind what it keeps of those before."""
        found: Tensor = self._with_states(layer_idx).update_conv_state(conv_states, state_idx, **named)
        return found

    def update_recurrent_state(self, recurrent_states: Tensor, layer_idx: int, state_idx: int = 0) -> Tensor:
        """Take a recurrence's new state."""
        found: Tensor = self._with_states(layer_idx).update_recurrent_state(recurrent_states, state_idx)
        return found

    def is_recording_past(self, layer_idx: int) -> bool:
        """Return whether convolutions keep more than they need; they do not."""
        return False

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the positions before the forward in progress; for models that ask.

        Raises:
            RaggedLengths: the rows differ in them.
        """
        if self._first is None:
            raise RaggedLengths
        return self._first

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Return the position of the first query; see `get_seq_length`."""
        return self.get_seq_length(layer_idx)

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Return how many keys a layer reads, and the position of the first."""
        return self._end, 0

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order; only those that take another's place are copied."""
        if self.states is not None:
            self.states.keep(rows)
        moved = [(place, row) for place, row in enumerate(rows) if place != row]
        places, sources = [place for place, _ in moved], [row for _, row in moved]
        for store in self._stores:
            for tensor in store.values() if moved else ():
                tensor[places] = tensor[sources]

    def _with_states(self, layer: int) -> Any:
        assert self.states is not None, "the model was said to have no states"
        return self.states.layer(layer)

    @property
    def _stores(self) -> tuple[dict[int, Tensor], ...]:
        return self._keys, self._values, self._indexed

    def _write(self, store: dict[int, Tensor], layer: int, new: Tensor) -> Tensor:
        if layer not in store:
            _, heads, _, dim = new.shape
            store[layer] = new.new_zeros(self._most, heads, self.capacity, dim)
        kept, rows = store[layer], self._rows
        if rows.stop - rows.start < self._most:
            kept = kept[rows]
        if self._first is not None:
            kept.narrow(2, self._first, self._width).copy_(new)
        else:
            row = torch.arange(len(kept), device=new.device)[:, None]
            kept[row, :, self._positions] = new.transpose(1, 2)
        return kept.narrow(2, 0, self._end)
