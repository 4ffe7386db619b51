"""A causal language model with its cache: what the decode loop calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from systems.modeling.kv_cache import PositionalCache
from systems.modeling.masks import Masks, positional, state_numbers
from systems.modeling.own_caches import OwnCaches
from systems.modeling.states import States


@dataclass(frozen=True, slots=True)
class Way:
    """How a model has to be read, as far as its config does not tell; see `systems.modeling.learning`.

    Attributes:
        apart: it asks how long the text is, so that rows of unequal length are computed one by one.
        stepping: its mixers read tokens one by one where there are states.
        own: only its own cache serves it.
    """

    apart: bool = False
    stepping: bool = False
    own: bool = False


Hear = Callable[[list[Any]], None]
"""Called with values that a device has computed, as lists."""

ways: WeakKeyDictionary[Any, Way] = WeakKeyDictionary()
"""What was learned of models."""


def at_once(model: Any) -> bool:
    """Whether all tokens of a verification are read by one forward, and rows of a batch, too."""
    way = ways.get(model, Way())
    return positional(model) and not way.own and (way.stepping or not state_numbers(model.config.get_text_config()))


class Decoder:
    """Forward passes of one model for the rows of one batch.

    Args:
        model: a transformers causal language model in evaluation mode.
        rows: most rows at once.
        capacity: longest row in tokens, drafts included.
    """

    def __init__(self, model: Any, rows: int, capacity: int) -> None:
        self.model = model
        self.rows, self.capacity = rows, capacity
        text = model.config.get_text_config()
        self._apart = ways.get(model, Way()).apart
        self._masks: Masks | None = None
        self._cache: PositionalCache | OwnCaches = OwnCaches()
        self.at_once = at_once(model)
        if self.at_once:
            numbers = state_numbers(text)
            self._cache = PositionalCache(rows, capacity, States(numbers, rows) if numbers else None)
            self._masks = Masks(model)
        self._last = rotary_limit(text)
        self.device: torch.device = model.device

    def undo(self, positions: int) -> None:
        """Be prepared for rows that go back by so many positions; a start at 0 is always possible."""
        keeper = self._cache if isinstance(self._cache, OwnCaches) else self._cache.states
        if keeper is not None:
            keeper.undo = max(keeper.undo, positions)

    def prefill(self, row: int, prompt: Sequence[int], start: int = 0) -> Tensor:
        """Read a prompt, or what follows its first `start` tokens, into a row, maybe beside others; return the logits
        `(V,)` after its last token."""
        tokens = torch.tensor([prompt], device=self.device)
        return self._forward(self._cache.beside(), tokens, [start], row, logits_to_keep=1)[0, -1]

    def forward(self, tokens: Tensor, starts: Sequence[int]) -> Tensor:
        """Read `tokens` `(B, T)`, row b at positions `starts[b]...`; return the logits `(B, T, V)`."""
        return self._forward(self._cache, tokens, starts)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows, in this order."""
        self._cache.keep(rows)

    @property
    def recording(self) -> bool:
        """Whether a forward is going on that computes nothing; see `systems.graphs`."""
        return False

    def later(self, values: Tensor, hear: Hear) -> None:
        """Tell `hear` values of the forward that is being recorded, whenever it is replayed."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values; 0 before the first forward."""
        return self._cache.nbytes

    def _forward(
        self,
        cache: PositionalCache | OwnCaches,
        tokens: Tensor,
        starts: Sequence[int],
        first: int = 0,
        logits_to_keep: int = 0,
        masked: bool = True,
    ) -> Tensor:
        """Compute the rows from `first` on; `masked` is for kernels that are told what a query may read."""
        if isinstance(cache, OwnCaches):
            return cache.forward(partial(self._read, logits_to_keep), tokens, starts, first)
        if self._apart and len(set(starts)) > 1:
            alone = range(len(starts))
            parts = [self._forward(cache, tokens[i : i + 1], [starts[i]], first + i, logits_to_keep) for i in alone]
            return torch.cat(parts)
        positions = cache.begin(starts, tokens.shape[1], self.device, first)
        last = tokens.shape[1] == 1 and len(set(starts)) == 1
        mask = self._masks(positions, cache.end, last) if masked and self._masks is not None else None
        return self._logits(tokens, positions, cache, mask, logits_to_keep).logits  # type: ignore[no-any-return]

    def _read(self, logits_to_keep: int, tokens: Tensor, start: int, cache: Any) -> tuple[Tensor, Any]:
        """Read tokens of one row behind its own cache; see `own_caches.Read`."""
        positions = torch.arange(start, start + tokens.shape[1], device=self.device)[None]
        output = self._logits(tokens, positions, cache, None, logits_to_keep)
        return output.logits, output.past_key_values

    def _logits(self, tokens: Tensor, positions: Tensor, cache: Any, mask: Any, logits_to_keep: int) -> Any:
        if self._last is not None:  # what lies beyond is draft that no text has room for
            positions = positions.clamp(max=self._last - 1)
        return self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=logits_to_keep,
        )


MakeDecoder = Callable[[Any, int, int], Decoder]
"""From a model, most rows at once and the longest row to what computes its forwards."""


def rotary_limit(text: Any) -> int | None:
    """Return the positions after which a model turns its keys by other frequencies; None: it never does.

    Keys that were cached before would have to be computed anew there, so texts end there.
    """
    parameters = getattr(text, "rope_parameters", None) or {}
    kinds = [value for value in parameters.values() if isinstance(value, dict)] or [parameters]
    limits = [kind["original_max_position_embeddings"] for kind in kinds if kind.get("rope_type") == "longrope"]
    limits += [text.max_position_embeddings for kind in kinds if kind.get("rope_type") == "dynamic"]
    return min(limits, default=None)


@torch.inference_mode()
def position_bytes(model: Any) -> int:
    """Return the bytes of keys and values that one position of one row takes, as the model's own forward makes them."""
    decoder = Decoder(model, 1, 1)
    decoder.prefill(0, [0])
    if at_once(model):
        return decoder.nbytes
    short = decoder.nbytes
    decoder.forward(torch.zeros(1, 1, dtype=torch.long, device=decoder.device), [1])
    return max(decoder.nbytes - short, 0)
