"""A causal language model with its positional cache: what the decode loop calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from systems.runtime.kv_cache import PositionalCache


class Decoder:
    """Forward passes of one model for the rows of one batch.

    Args:
        model: a transformers causal language model in evaluation mode.
        rows: batch size.
        capacity: longest row in tokens, drafts included.
    """

    def __init__(self, model: Any, rows: int, capacity: int) -> None:
        self._model = model
        self.capacity = capacity
        self._cache = PositionalCache(rows, capacity)
        self.device: torch.device = model.device

    def prefill(self, row: int, prompt: Sequence[int]) -> Tensor:
        """Read a prompt into a row; return the logits `(V,)` after its last token."""
        tokens = torch.tensor([prompt], device=self.device)
        positions, mask = self._cache.begin([0], len(prompt), self.device, row)
        return self._call(tokens, positions, mask, logits_to_keep=1)[0, -1]

    def forward(self, tokens: Tensor, starts: Sequence[int]) -> Tensor:
        """Read `tokens` `(B, T)`, row b at positions `starts[b]...`; return the logits `(B, T, V)`."""
        positions, mask = self._cache.begin(starts, tokens.shape[1], self.device)
        return self._call(tokens, positions, mask, logits_to_keep=0)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        self._cache.keep(rows)

    def _call(self, tokens: Tensor, positions: Tensor, mask: Tensor, logits_to_keep: int) -> Tensor:
        output = self._model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=logits_to_keep,
        )
        logits: Tensor = output.logits
        return logits
