"""States of recurrences and convolutions, kept after each of a row's latest tokens: rollback is a choice of position.

A layer of such a model keeps one state for all of a text, and forgets what it was before. Here the layers that do (its
mixers, which are observed and not named) read the tokens of a verification one by one, as plain decoding does, while
everything else of the model reads them at once. The states after each token go into a ring, so that a row which loses
drafts goes on from the very state that plain decoding would have had.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

KINDS = frozenset({"linear_attention", "conv"})
"""Kinds of layers, in transformers' names, that keep states and nothing else."""
_NAMES = ("conv_states", "recurrent_states")
"""What transformers' layer cache calls them."""


class States:
    """The states of a batch.

    Args:
        numbers: states of each layer that has some, by its number in the model.
        rows: most rows at once.

    Attributes:
        undo: positions that a row may have to go back.
    """

    def __init__(self, numbers: dict[int, int], rows: int) -> None:
        self._numbers, self._rows, self.undo = numbers, rows, 1
        self._kept: dict[tuple[int, str, int], Tensor] = {}
        """By layer, name and number of a state `(places, rows, ...)`: position p is at place p modulo their number."""
        self._held: list[list[int]] = []
        """By row and place, which position is there."""
        self._layers: dict[int, Any] = {}
        self._starts: list[int] = []
        self._first = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all states that are kept."""
        return sum(kept.nbytes for kept in self._kept.values())

    @property
    def fresh(self) -> bool:
        """Whether the forward in preparation begins a text."""
        return not any(self._starts)

    def beside(self) -> States:
        """The same states for another forward at the same time, over other rows."""
        return copy(self)

    def begin(self, starts: Sequence[int], width: int, first: int) -> None:
        """Prepare a forward of `width` tokens for the rows from `first` on, each from its start on.

        Raises:
            ValueError: a row goes back further than `undo`, or begins while others go on.
        """
        if not self._held:
            self._held += [[-1] * (2 * self.undo + 2) for _ in range(self._rows)]
        self._starts, self._first = list(starts), first
        if any(starts) and not all(starts):
            raise ValueError("rows of recurrent states cannot begin while others go on")
        for held, start in zip(self._held[first:], starts, strict=False):
            places = len(held)
            if start and held[start % places] != start:
                raise ValueError(f"no states are kept at position {start}, further back than {self.undo} positions")
            for position in range(start + 1, start + width + 1) if start else [width]:
                held[position % places] = position
        self._layers = {layer: self._opened(layer, number) for layer, number in self._numbers.items()}

    def layer(self, layer: int) -> Any:
        """Return transformers' own layer cache, with the states that the forward in progress has come to."""
        return self._layers[layer]

    def save(self, layer: int, read: int) -> None:
        """Keep a layer's states as those after `read` tokens of the forward in progress."""
        for name in _NAMES:
            for number, state in getattr(self._layers[layer], name).items():
                if state is not None:
                    ring = self._ring((layer, name, number), state)
                    ring[self._places(read, len(ring)), self._own(len(state))] = state

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order."""
        moved = [(place, row) for place, row in enumerate(rows) if place != row]
        places, sources = [place for place, _ in moved], [row for _, row in moved]
        for ring in self._kept.values() if moved else ():
            ring[:, places] = ring[:, sources]
        for place, row in moved:
            self._held[place] = list(self._held[row])

    def _opened(self, layer: int, number: int) -> Any:
        from transformers.cache_utils import LinearAttentionLayer

        opened: Any = LinearAttentionLayer(number_of_states=number)
        if self.fresh:
            return opened
        for state in range(number):
            for name in _NAMES:
                if (ring := self._kept.get((layer, name, state))) is not None:
                    kept = ring[self._places(0, len(ring)), self._own(len(self._starts))]
                    getattr(opened, name)[state] = kept
                    getattr(opened, f"is_{name}_initialized")[state] = True
            if opened.conv_states[state] is not None:
                opened.conv_kernel_size[state] = opened.conv_states[state].shape[-1]
            opened.has_previous_state[state] = True
        return opened

    def _ring(self, key: tuple[int, str, int], state: Tensor) -> Tensor:
        if key not in self._kept:
            self._kept[key] = state.new_zeros(len(self._held[0]), self._rows, *state.shape[1:])
        return self._kept[key]

    def _places(self, read: int, places: int) -> list[int]:
        return [(start + read) % places for start in self._starts]

    def _own(self, rows: int) -> list[int]:
        return list(range(self._first, self._first + rows))


def step_by_step(model: Any, layers: dict[Any, int]) -> None:
    """Let mixers read further tokens of a text one by one where the cache keeps states.

    Args:
        layers: by mixer the number of its layer, see `mixers`.
    """
    for module, layer in layers.items():
        if "forward" not in vars(module):
            module.forward = partial(_stepped, module.forward, layer)


def _stepped(forward: Any, layer: int, hidden_states: Tensor, *others: Any, **named: Any) -> Any:
    """Call a mixer's forward, once per token where there are states before them; it returns `(B, T, H)`."""
    caches = [item for item in (*others, *named.values()) if isinstance(getattr(item, "states", None), States)]
    if not caches:
        return forward(hidden_states, *others, **named)
    states, width = caches[0].states, hidden_states.shape[1]
    if states.fresh:
        output = forward(hidden_states, *others, **named)
        states.save(layer, width)
        return output
    outputs = []
    for place in range(width):
        outputs.append(forward(hidden_states[:, place : place + 1], *others, **named))
        states.save(layer, place + 1)
    return torch.cat(outputs, 1)
