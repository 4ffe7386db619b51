"""Caches of models that keep more of a text than keys and values at positions: states of recurrences, compressed keys.

Each row has transformers' own cache, and is read one token at a time behind its prompt, as plain decoding reads it.
What the cache was after each of the latest tokens is kept, so that rejected drafts are undone exactly: by going back to
what it was before them. The price is that a verification is as many forwards as it has tokens; experts are computed in
each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from typing import Any

import torch
from torch import Tensor

Read = Callable[[Tensor, int, Any], tuple[Tensor, Any]]
"""Reads tokens `(1, T)` from a position on behind a cache (None: the beginning of a text), which it changes; returns
logits `(1, T, V)` and the cache."""


class OwnCaches:
    """The caches of a batch by row.

    Attributes:
        undo: positions that a row may have to go back.
    """

    def __init__(self, undo: int = 1) -> None:
        self.undo = undo
        self._rows: dict[int, list[tuple[int, Any]]] = {}
        """Per row lengths, and what the cache was then, the latest last."""

    def beside(self) -> OwnCaches:
        """The same caches: rows have nothing in common."""
        return self

    def forward(self, read: Read, tokens: Tensor, starts: Sequence[int], first: int) -> Tensor:
        """Read `tokens` `(B, T)` into the rows from `first` on, each from its start; return logits `(B, T, V)`."""
        return torch.cat(
            [self._row(read, first + row, tokens[row : row + 1], start) for row, start in enumerate(starts)]
        )

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order."""
        kept = {place: self._rows[row] for place, row in enumerate(rows)}
        self._rows.clear()
        self._rows.update(kept)

    @property
    def nbytes(self) -> int:
        """Bytes of what the rows hold at their latest tokens."""
        return sum(_bytes(history[-1][1]) for history in self._rows.values())

    def _row(self, read: Read, row: int, tokens: Tensor, start: int) -> Tensor:
        if start == 0:
            logits, cache = read(tokens, 0, None)
            self._rows[row] = [(tokens.shape[1], cache)]
            return logits
        history = self._rows[row]
        while history and history[-1][0] > start:
            history.pop()
        if not history or history[-1][0] != start:
            raise ValueError(f"row {row} cannot go back to position {start}, further than {self.undo} positions")
        answers = []
        for place, token in enumerate(tokens.split(1, dim=1), start):
            logits, cache = read(token, place, _copied(history[-1][1]))
            history.append((place + 1, cache))
            answers.append(logits)
        del history[: -(self.undo + tokens.shape[1] + 1)]
        return torch.cat(answers, 1)


def _copied(cache: Any) -> Any:
    """Return a cache that can be read behind without changing this one.

    transformers' growing layers put new tensors in the place of old ones, so that theirs may be shared; of others,
    which may write into theirs, all is copied.
    """
    from transformers.cache_utils import DynamicCache

    if type(cache) is not DynamicCache:
        return deepcopy(cache)
    other = copy(cache)
    other.layers = [copy(layer) if _grows(layer) else deepcopy(layer) for layer in cache.layers]
    return other


def _grows(layer: Any) -> bool:
    from transformers.cache_utils import DynamicIndexedLayer, DynamicLayer, DynamicSlidingWindowLayer

    return type(layer) in (DynamicLayer, DynamicSlidingWindowLayer, DynamicIndexedLayer)


def _bytes(cache: Any) -> int:
    """Bytes of all distinct tensors that a cache holds."""
    held: dict[int, int] = {}
    waiting, met = [cache], set[int]()
    while waiting:
        item = waiting.pop()
        if isinstance(item, Tensor):
            held[item.data_ptr()] = item.nbytes
        elif id(item) not in met and not isinstance(item, str | bytes | type | torch.dtype | torch.device):
            met.add(id(item))
            inside = item.values() if isinstance(item, dict) else item if isinstance(item, list | tuple) else ()
            waiting += [*inside, *getattr(item, "__dict__", {}).values()]
    return sum(held.values())
