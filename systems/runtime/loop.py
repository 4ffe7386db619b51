"""One decode loop for all systems: draft, verify, accept, roll back; batches with ragged acceptance.

Plain decoding is the case of an empty draft. The loop is the only place that reports tokens and steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from systems.api import Meter, Request
from systems.drafters.base import Drafter
from systems.policies.listening import Listener
from systems.runtime.decoder import Decoder
from systems.runtime.expert_cache import ExpertCache
from systems.runtime.sampling import Chooser


@dataclass(slots=True)
class _Row:
    """A request still being generated: its place in the original batch, length in the KV cache, last token."""

    place: int
    length: int
    last: int


@torch.inference_mode()
def generate(
    target: Any,
    drafter: Drafter,
    cache: ExpertCache,
    listener: Listener,
    requests: Sequence[Request],
    meter: Meter,
    chooser: type[Chooser] = Chooser,
) -> None:
    """Generate for a batch until the meter wants no more of any row; `chooser` decides what is accepted."""
    cache.meter = meter
    generation = _Generation(target, drafter, cache, listener, requests, meter, chooser)
    try:
        generation.prefill()
        while generation.rows:
            generation.step()
    finally:
        drafter.end()
        listener.end()
    cache.end_generation()
    meter.traffic(cache.take_traffic())


class _Generation:
    """The state of one batch."""

    def __init__(
        self,
        target: Any,
        drafter: Drafter,
        cache: ExpertCache,
        listener: Listener,
        requests: Sequence[Request],
        meter: Meter,
        chooser: type[Chooser],
    ) -> None:
        capacity = max(len(r.prompt) + r.max_new_tokens for r in requests) + drafter.draft_length + 1
        self._target = Decoder(target, len(requests), capacity)
        self._chooser = chooser([request.sampling for request in requests], self._target.device)
        self._requests, self._listener = requests, listener
        self._drafter, self._cache, self._meter = drafter, cache, meter
        self.rows: list[_Row] = []

    def prefill(self) -> None:
        """Read all prompts, then commit the first token of every row at once, so that no row's decode phase
        contains another's prompt."""
        with self._meter.span("prefill"):
            self._cache.enter("prefill")
            self._listener.begin(len(self._requests))
            logits = torch.stack([self._read(row, request) for row, request in enumerate(self._requests)])
            firsts = self._chooser.choose(logits).tokens.tolist()
            self._drafter.begin([r.prompt for r in self._requests], self._target)
            self._meter.traffic(self._cache.take_traffic())
            self._cache.enter("decode")
            self._listener.decoding()
        self.rows = [
            _Row(i, len(r.prompt), token) for i, (r, token) in enumerate(zip(self._requests, firsts, strict=True))
        ]
        self._settle([[token] for token in firsts])

    def step(self) -> None:
        """One draft-verify cycle for all unfinished rows."""
        with self._meter.span("draft"):
            draft = self._drafter.propose(self._chooser)
        with self._meter.span("verify"):
            last = torch.tensor([[row.last] for row in self.rows], device=self._target.device)
            drafted = draft.lengths or (draft.tokens.shape[1],) * len(self.rows)
            tokens = torch.cat([last, draft.tokens], 1) if any(drafted) else last
            logits = self._target.forward(tokens, [row.length for row in self.rows])
            committed = self._chooser.verify(logits, tokens[:, 1:], draft.probabilities, drafted)
        with self._meter.span("host"):
            self._cache.end_step()
            self._listener.end_step()
            self._meter.traffic(self._cache.take_traffic())
            accepted = [len(tokens) - 1 for tokens in committed]
            self._meter.step([row.place for row in self.rows], drafted, accepted)
            for row, tokens_of_row in zip(self.rows, committed, strict=True):
                row.length += len(tokens_of_row)
            self._settle(committed)

    def _read(self, row: int, request: Request) -> Tensor:
        self._listener.reading(row)
        return self._target.prefill(row, request.prompt)

    def _settle(self, committed: Sequence[Sequence[int]]) -> None:
        """Hand tokens over and drop the rows that are done."""
        unfinished = []
        for index, (row, tokens) in enumerate(zip(self.rows, committed, strict=True)):
            row.last = tokens[-1]
            self._drafter.observe(index, tokens)
            if not self._meter.commit(row.place, tokens):
                unfinished.append(index)
        if len(unfinished) < len(self.rows):
            self.rows = [self.rows[index] for index in unfinished]
            if unfinished:
                for part in (self._target, self._drafter, self._chooser, self._listener):
                    part.keep(unfinished)
