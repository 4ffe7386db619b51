"""What a model would do, recorded: enough to replay any system that drafts the same way.

Along a request's plain greedy output the trace holds, at *every* position, the longest draft, what the target says to
each of its tokens, and where both route all of them, wrong paths included. Whatever a system accepts, evicts or
prefetches, the next position is in the trace: other draft lengths, budgets, links and policies need no new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systems.contract.errors import BadInput
from systems.contract.requests import Request
from systems.replay.routing import Forward, Verifications, forward

Ids = NDArray[np.int16]
NOTHING = -1
"""Fills what a shorter draft leaves empty."""
VERSION = 2


@dataclass(frozen=True)
class Header:
    """What a trace was recorded from.

    Attributes:
        drafter: the part that drafted, `none` where nothing did; `draft_length` its longest draft.
        layers: MoE layers of the target; `decoder_layers` all of them.
        draft_ordinals: per layer of the draft, the ordinal of the target's MoE layer beside it, -1 for none.
        depth: how many layers ahead the next gates were asked.
        draft_bytes, record_bytes: fast memory of the draft and of one expert (bytes).
    """

    drafter: str
    draft_length: int
    layers: int
    experts: int
    top_k: int
    decoder_layers: int
    draft_ordinals: Sequence[int]
    depth: int
    record_bytes: int
    draft_bytes: int
    stop_tokens: Sequence[int]
    facts: dict[str, Any] = field(default_factory=dict)
    """Model, tokenizer, dtype and versions, for the record."""
    numbers: dict[str, int] = field(default_factory=dict)
    """What else a pair is asked for: `vocab_size`, `context_length`, and `own_top_k`, which its config has when nothing
    replaces it."""
    version: int = VERSION

    @property
    def expert_bytes(self) -> int:
        """Bytes of all experts."""
        return self.record_bytes * self.layers * self.experts


@dataclass(frozen=True)
class Record:
    """One request; S positions, drafts of G tokens at most, L layers, k experts a token, D layers ahead.

    Attributes:
        prompt: token ids; `prompt_routed` `[P, L, k]` where the target routed them.
        first: the token that the prompt leads to.
        drafts: `[S, G]` drafted tokens, `agreed` `[S]` how many of them the target confirms.
        answers: `[S, G + 1]` the target's token behind the last committed one and behind each draft.
        routed: `[S, G + 1, L, k]` where the target routes them.
        hinted: `[S, G, L, k]` experts that the draft names, `confidences` their weights (self-drafts only).
        ahead: `[S, G + 1, L, D, k]` what the gates of the next layers say.
    """

    prompt: NDArray[np.int32]
    prompt_routed: Ids
    first: int
    drafts: NDArray[np.int32]
    agreed: Ids
    answers: NDArray[np.int32]
    routed: Ids
    hinted: Ids
    confidences: NDArray[np.float32]
    ahead: Ids

    @cached_property
    def lists(self) -> dict[str, Any]:
        """The arrays as nested lists, which a replay reads element by element."""
        return {name: getattr(self, name).tolist() for name in ARRAYS}

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """The prompt."""
        return tuple(self.prompt.tolist())

    @cached_property
    def greedy(self) -> list[int]:
        """What the target says to the prompt by plain greedy decoding: S + 1 tokens."""
        return [self.first, *self.answers[:, 0].tolist()]

    @cached_property
    def reading(self) -> Forward:
        """The forward over the prompt."""
        return forward(self.lists["prompt_routed"], None)

    @cached_property
    def verifying(self) -> Verifications:
        """The forwards over its drafts."""
        return Verifications(self.lists["routed"], self.lists["ahead"])


ARRAYS = ("prompt", "prompt_routed", "drafts", "agreed", "answers", "routed", "hinted", "confidences", "ahead")


@dataclass(frozen=True)
class Trace:
    """All requests of a recording, by id."""

    header: Header
    records: dict[str, Record]

    def of(self, request: Request) -> Record:
        """The record of a request.

        Raises:
            BadInput: the trace does not hold it or not all of it, or its prompt is another.
        """
        if request.id not in self.records:
            raise BadInput(f"request {request.id} is not in the trace; record it, or choose among {_few(self.records)}")
        record = self.records[request.id]
        if record.tokens != request.prompt:
            raise BadInput(f"request {request.id} has another prompt than the trace; record it again")
        if request.max_new_tokens > len(record.greedy) and record.greedy[-1] not in self.header.stop_tokens:
            raise BadInput(
                f"request {request.id} was recorded up to {len(record.greedy)} tokens, and `measure.max_new_tokens` "
                f"asks for {request.max_new_tokens}; lower it, or record again with as many"
            )
        return record


def _few(records: dict[str, Record]) -> str:
    names = list(records)
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
