"""Packed token windows in an order that depends on seeds alone: a resumed stage reads what it would have read."""

from __future__ import annotations

import random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

Tokens = NDArray[np.uint16]


def pack(documents: list[str], tokenizer: PreTrainedTokenizerFast, seed: int) -> Tokens:
    """The documents, shuffled and each followed by the end-of-text token, as one stream."""
    order = random.Random(seed).sample(documents, len(documents))
    end = tokenizer.eos_token_id
    encoded = tokenizer.backend_tokenizer.encode_batch(order)
    return np.concatenate([np.array([*document.ids, end], dtype=np.uint16) for document in encoded])


class Windows:
    """Windows of `context + 1` tokens (inputs and targets overlap), reshuffled in every epoch."""

    def __init__(self, stream: Tokens, context: int, seed: int) -> None:
        self.stream, self.context, self.seed = stream, context, seed
        self.count = (len(stream) - 1) // context
        if self.count == 0:
            raise ValueError(f"a stream of {len(stream)} tokens holds no window of {context}")
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def batch(self, step: int, size: int) -> Tensor:
        """Batch number `step`, `[size, context + 1]` int64."""
        rows = [self._window(step * size + row) for row in range(size)]
        return torch.from_numpy(np.stack(rows).astype(np.int64))

    def _window(self, index: int) -> Tokens:
        epoch, place = divmod(index, self.count)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        start = int(self._order[place]) * self.context
        return self.stream[start : start + self.context + 1]
