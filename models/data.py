"""Token windows in an order that depends on seeds alone: a resumed stage reads what it would have read."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from models.exercises import Exercise

Tokens = NDArray[np.uint16]
Weights = NDArray[np.float16]


@dataclass(frozen=True)
class LossWeights:
    """Weight of a predicted token in the loss, by what it belongs to.

    Most tokens of an exercise are random (names, example values): what can be learned is in its solution.
    """

    library: float = 0.5
    prompt: float = 0.3
    solution: float = 2.0


class Rows(NamedTuple):
    """Training windows: `tokens` `[rows, context + 1]`, and `weights` `[rows, context]` of the predicted tokens."""

    tokens: Tokens
    weights: Weights


class Segment(NamedTuple):
    """Tokens that belong together, with the weight of each."""

    tokens: Tokens
    weights: Weights


def encode(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> list[Tokens]:
    """Token ids of each text, without special tokens."""
    return [np.array(found.ids, dtype=np.uint16) for found in tokenizer.backend_tokenizer.encode_batch(list(texts))]


def stream(documents: list[str], tokenizer: PreTrainedTokenizerFast, seed: int) -> Tokens:
    """The documents, shuffled and each followed by the end-of-text token, as one stream."""
    order = random.Random(seed).sample(documents, len(documents))
    end = np.array([tokenizer.eos_token_id], dtype=np.uint16)
    return np.concatenate([part for found in encode(order, tokenizer) for part in (found, end)])


def exercise_segments(
    exercises: Sequence[Exercise], tokenizer: PreTrainedTokenizerFast, weights: LossWeights
) -> list[Segment]:
    """Prompt, solution and end of text of each exercise; the two are encoded apart, as at inference."""
    end = np.array([tokenizer.eos_token_id], dtype=np.uint16)
    prompts = encode([exercise.prompt for exercise in exercises], tokenizer)
    solutions = encode([exercise.canonical_solution for exercise in exercises], tokenizer)
    return [
        Segment(
            np.concatenate([prompt, solution, end]),
            np.repeat(np.array([weights.prompt, weights.solution], np.float16), [len(prompt), len(solution) + 1]),
        )
        for prompt, solution in zip(prompts, solutions, strict=True)
    ]


def rows(exercises: Sequence[Segment], library: Tokens, library_weight: float, context: int, share: float) -> Rows:
    """Windows of `context + 1` tokens that hold whole exercises, about `share` of the tokens, and a slice of `library`.

    An exercise that is cut loses what its solution follows from; library text can be cut anywhere, so it fills up.
    """
    length = context + 1
    end = exercises[0].tokens[-1:]
    place = 0
    tokens, weights = [], []
    for group in _groups(exercises, context, share):
        missing = length - sum(len(segment.tokens) for segment in group) - 1
        piece = np.take(library, range(place, place + missing), mode="wrap")
        place += missing
        # The slice is cut, not finished: its end-of-text token is not to be learned.
        filler = np.full(missing + 1, library_weight, dtype=np.float16)
        filler[-1] = 0.0
        parts = [Segment(np.concatenate([piece, end]), filler), *group]
        tokens.append(np.concatenate([part.tokens for part in parts]))
        weights.append(np.concatenate([part.weights for part in parts])[1:])
    return Rows(np.stack(tokens), np.stack(weights))


def _groups(exercises: Sequence[Segment], context: int, share: float) -> Iterator[list[Segment]]:
    """Neighbouring exercises that fit into a window and make up `share` of the windows so far."""
    group: list[Segment] = []
    used, windows, taken = 0, 1, 0
    for segment in exercises:
        size = len(segment.tokens)
        if size > context:
            continue
        if group and (used + size > context or taken + size / 2 > windows * share * context):
            yield group
            group, used, windows = [], 0, windows + 1
        group.append(segment)
        used, taken = used + size, taken + size
    if group:
        yield group


class Batches:
    """Batches of `rows`, reshuffled in every epoch."""

    def __init__(self, source: Rows, seed: int) -> None:
        if not len(source.tokens):
            raise ValueError("no training window: the corpus is empty")
        self.source, self.seed = source, seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Batch number `step`: tokens `[size, context + 1]` int64 and weights `[size, context]` fp32."""
        chosen = [self._row(step * size + row) for row in range(size)]
        tokens = torch.from_numpy(self.source.tokens[chosen].astype(np.int64))
        return tokens, torch.from_numpy(self.source.weights[chosen].astype(np.float32))

    def _row(self, index: int) -> int:
        epoch, place = divmod(index, len(self.source.tokens))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self.seed, epoch)).permutation(len(self.source.tokens))
        return int(self._order[place])
