"""Prompts and how they are chosen: a sample, drawn by a seed, in the dataset's own order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from harness.config.bench import DatasetConfig, MeasureConfig
from systems.api import BadInput, ModelPair, Request


class Prompt(NamedTuple):
    """A text to continue, and the columns of the dataset that its scorer needs."""

    id: str
    text: str
    row: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Selection:
    """Requests to measure, others to warm up on, and the ids of prompts left out as too long."""

    requests: tuple[Request, ...]
    warmup: tuple[Request, ...]
    skipped: tuple[str, ...]

    @property
    def prompts(self) -> list[tuple[int, ...]]:
        """Token ids of what is measured."""
        return [request.prompt for request in self.requests]


def fingerprint(prompts: Iterable[Prompt]) -> str:
    """Return the hash of ids and texts that identifies a dataset in records."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(f"{prompt.id}\0{prompt.text}\0".encode())
    return digest.hexdigest()[:16]


def select(prompts: Sequence[Prompt], pair: ModelPair, dataset: DatasetConfig, measure: MeasureConfig) -> Selection:
    """Draw `dataset.limit` prompts to measure and `measure.warmup` others to warm up on, and encode them.

    A prompt's lot hangs on `dataset.seed` and its id alone, so that a smaller limit takes some of the prompts of a
    larger one: what was recorded for this can be replayed with that.

    Raises:
        BadInput: a prompt is empty or, unless skipped, too long for the context; or there are too few.
    """
    drawn: dict[int, Request] = {}
    skipped: list[int] = []
    wanted = len(prompts) if dataset.limit is None else dataset.limit + measure.warmup
    for place in sorted(range(len(prompts)), key=lambda place: _lot(dataset.seed, prompts[place].id)):
        if len(drawn) == wanted:
            break
        prompt = prompts[place]
        tokens = _encode(prompt, pair)
        if len(tokens) + measure.max_new_tokens <= pair.context_length:
            drawn[place] = Request(prompt.id, tokens, measure.max_new_tokens, measure.sampling)
        elif dataset.skip_too_long:
            skipped.append(place)
        else:
            raise BadInput(_too_long(prompt.id, len(tokens), measure.max_new_tokens, pair.context_length))
    limit = len(drawn) - measure.warmup if dataset.limit is None else dataset.limit
    if len(drawn) < max(limit, 1) + measure.warmup:
        raise BadInput(_too_few(len(drawn), dataset, measure))
    places = list(drawn)
    measured, warmup = (tuple(drawn[place] for place in sorted(some)) for some in (places[:limit], places[limit:]))
    return Selection(measured, warmup, tuple(prompts[place].id for place in sorted(skipped)))


def _lot(seed: int, id: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{id}".encode()).digest()


def _encode(prompt: Prompt, pair: ModelPair) -> tuple[int, ...]:
    tokens = tuple(pair.prompt(prompt.text)) if prompt.text.strip() else ()
    if not tokens:
        raise BadInput(f"prompt {prompt.id!r} is empty; there is nothing to continue")
    if (highest := max(tokens)) >= pair.vocab_size:
        raise BadInput(
            f"prompt {prompt.id!r} has the token {highest}, and the model knows {pair.vocab_size}; `model.tokenizer` is"
            " another model's"
        )
    return tokens


def _too_few(count: int, dataset: DatasetConfig, measure: MeasureConfig) -> str:
    """Say what `count` prompts, those that fit the context, are too few for."""
    limit = "one" if dataset.limit is None else f"`dataset.limit` {dataset.limit}"
    return (
        f"{count} prompts of {dataset.name} fit the context, and {limit} to measure and `measure.warmup`"
        f" {measure.warmup} others are wanted; change these, or `measure.max_new_tokens`"
    )


def _too_long(id: str, length: int, new_tokens: int, context: int) -> str:
    return (
        f"prompt {id!r} has {length} tokens; with {new_tokens} new ones it exceeds the context of {context}."
        " Lower `measure.max_new_tokens`, or leave such prompts out with `dataset.skip_too_long=true`"
    )
