"""A causal language model with its positional cache: what the decode loop calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from systems.runtime.kv_cache import PositionalCache


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
        self._cache = PositionalCache(rows, capacity)
        self.device: torch.device = model.device

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
    def nbytes(self) -> int:
        """Bytes of all keys and values; 0 before the first forward."""
        return self._cache.nbytes

    def _forward(
        self,
        cache: PositionalCache,
        tokens: Tensor,
        starts: Sequence[int],
        first: int = 0,
        logits_to_keep: int = 0,
        masked: bool = True,
    ) -> Tensor:
        """Compute the rows from `first` on; `masked` is for kernels that are told what a query may read."""
        positions = cache.begin(starts, tokens.shape[1], self.device, first)
        output = self.model(
            input_ids=tokens,
            attention_mask=cache.mask() if masked else None,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=logits_to_keep,
        )
        logits: Tensor = output.logits
        return logits


MakeDecoder = Callable[[Any, int, int], Decoder]
"""From a model, most rows at once and the longest row to what computes its forwards."""


@torch.inference_mode()
def position_bytes(model: Any) -> int:
    """Return the bytes of keys and values that one position of one row takes, as the model's own forward makes them."""
    decoder = Decoder(model, 1, 1)
    decoder.prefill(0, [0])
    return decoder.nbytes
