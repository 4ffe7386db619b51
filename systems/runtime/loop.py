"""One decode loop for all systems: draft, verify, accept, roll back; batches with ragged acceptance.

Plain decoding is the case of an empty draft. Finished rows leave the batch at once, and requests that wait take their
seats. The loop is the only place that reports tokens and steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from systems.cache.expert_cache import ExpertCache
from systems.contract.errors import BadInput
from systems.contract.meter import Meter
from systems.contract.requests import Request
from systems.modeling.decoder import Decoder, MakeDecoder
from systems.operators.uploading import upload
from systems.policies.draft_lengths import DraftGovernor
from systems.policies.listening import Listener
from systems.runtime.ahead import DraftAhead
from systems.runtime.drafting import Drafter
from systems.runtime.reading import read
from systems.runtime.rows import seated
from systems.runtime.sampling import Chooser
from systems.runtime.together import together


@dataclass(slots=True)
class _Row:
    """A request still being generated: its place among the requests, length in the KV cache, last token."""

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
    at_once: int | None = None,
    chooser: type[Chooser] = Chooser,
    decoder: MakeDecoder = Decoder,
    governor: DraftGovernor | None = None,
    ahead: DraftAhead | None = None,
) -> None:
    """Generate until the meter wants no more of any row; `chooser` decides what is accepted.

    Args:
        at_once: rows at once at most; further requests wait, and join as rows leave. None: all.
        governor: chooses how many tokens each step drafts; None: always as many as the drafter may.
        ahead: hides what is drafted while a verification waits; None: drafts come behind verifications.

    Raises:
        BadInput: there is no request.
    """
    if not requests:
        raise BadInput("the batch is empty; there is nothing to generate")
    cache.meter = meter
    seats = min(at_once or len(requests), len(requests))
    forwards = decoder(target, seats, positions(requests, drafter.draft_length))
    forwards.undo(drafter.draft_length + 1)
    none_yet = chooser([], forwards.device)
    waiting = deque(enumerate(requests))
    generation = _Generation(
        forwards, drafter, cache, listener, meter, waiting, seats, chooser, none_yet, governor, ahead
    )
    try:
        generation.run()
    finally:
        drafter.end()
        listener.end()
    cache.end_generation()
    meter.traffic(cache.take_traffic())


def positions(requests: Sequence[Request], draft_length: int) -> int:
    """Return the longest row of a generation in positions of the KV cache, drafts included."""
    return max(len(request.prompt) + request.max_new_tokens for request in requests) + draft_length + 1


@dataclass(slots=True)
class _Generation:
    """The state of one batch."""

    target: Decoder
    drafter: Drafter
    cache: ExpertCache
    listener: Listener
    meter: Meter
    waiting: deque[tuple[int, Request]]
    seats: int
    make_chooser: type[Chooser]
    chooser: Chooser
    governor: DraftGovernor | None
    ahead: DraftAhead | None
    rows: list[_Row] = field(default_factory=list)
    begun: bool = False

    def run(self) -> None:
        """Let requests join while there are seats, and decode."""
        while self.waiting or self.rows:
            if self.waiting and len(self.rows) < self.seats:
                self._admit()
            else:
                self._step()

    def _admit(self) -> None:
        """Read the prompts of those who join, then commit the first token of each at once, so that none's decode
        phase contains the prompt of another who came with it."""
        free = self.seats - len(self.rows)
        joining = [self.waiting.popleft() for _ in range(min(free, len(self.waiting)))]
        prompts = [request.prompt for _, request in joining]
        with self.meter.span("prefill"):
            self.cache.end_step()  # what is hinted and still queued must not stream with the prompts
            self.cache.enter("prefill")
            self.listener.join(len(joining)) if self.begun else self.listener.begin(len(joining))
            logits = self._read(len(self.rows), prompts)
            newcomers = self.make_chooser([request.sampling for _, request in joining], self.target.device)
            firsts = newcomers.choose(logits).tokens.tolist()
            self.cache.tell_waits()
            if self.begun:
                self.chooser.join(newcomers)
                self.drafter.join(prompts)
            else:
                self.chooser = newcomers
                self.drafter.begin(prompts, self.target)
            self.meter.traffic(self.cache.take_traffic())
            self.cache.enter("decode")
            self.listener.decoding()
        self.begun = True
        present = len(self.rows)
        self.rows += [
            _Row(place, len(request.prompt), first) for (place, request), first in zip(joining, firsts, strict=True)
        ]
        self._settle([[] for _ in range(present)] + [[first] for first in firsts])

    def _step(self) -> None:
        """One draft-verify cycle for all unfinished rows."""
        began = self.cache.clock.now()
        wanted = self.drafter.draft_length if self.governor is None else self.governor.choose()
        # Behind the last token that any row wants there is nothing to draft; the target adds one to what it accepts.
        length = min(wanted, max(self.meter.left(row.place) for row in self.rows) - 1)
        with self.meter.span("draft"):
            drafting = self.cache.clock.now()
            draft = self.drafter.propose(self.chooser, length)
            if self.ahead is not None:
                self.ahead.drafted(drafting, draft.tokens.shape[1], draft.foreseen)
        with self.meter.span("verify"):
            last = upload([[row.last] for row in self.rows], self.target.device)
            drafted = draft.lengths or (draft.tokens.shape[1],) * len(self.rows)
            tokens = torch.cat([last, draft.tokens], 1) if any(drafted) else last
            # Where tokens are read one by one, nobody can say which of them a draft had read.
            self.cache.width = tokens.shape[1] if self.target.at_once else 1
            logits = self.target.forward(tokens, [row.length for row in self.rows])
            committed = self.chooser.verify(logits, tokens[:, 1:], draft.probabilities, drafted)
            self.cache.tell_waits()
        with self.meter.span("host"):
            self.cache.end_step()
            self.listener.end_step()
            self.meter.traffic(self.cache.take_traffic())
            accepted = [len(tokens) - 1 for tokens in committed]
            self.meter.step([row.place for row in self.rows], drafted, accepted)
            if self.governor is not None:
                self.governor.observe(drafted, accepted, self.cache.clock.now() - began)
            for row, tokens_of_row in zip(self.rows, committed, strict=True):
                row.length += len(tokens_of_row)
            self._settle(committed)

    def _read(self, first: int, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read prompts into the rows from `first` on; return the logits `(rows, V)` behind them."""
        lengths, logits = [len(prompt) for prompt in prompts], list[Tensor]()
        for some in together(lengths):
            self.listener.reading(first + some.start, lengths[some])
            logits += read(self.target, first + some.start, prompts[some])
        return torch.stack(logits)

    def _settle(self, committed: Sequence[Sequence[int]]) -> None:
        """Hand tokens over, where a row has some, and drop the rows that are done."""
        going = []
        for index, (row, tokens) in enumerate(zip(self.rows, committed, strict=True)):
            if tokens:
                row.last = tokens[-1]
                self.drafter.observe(index, tokens)
            going.append(not (tokens and self.meter.commit(row.place, tokens)))
        if all(going):
            return
        kept = seated(going)
        self.rows = [self.rows[index] for index in kept]
        if self.rows or self.waiting:
            for part in (self.target, self.drafter, self.chooser, self.listener):
                part.keep(kept)
