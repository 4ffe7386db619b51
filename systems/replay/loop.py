"""The draft-verify loop over a trace: the calls of the live loop, in the same order and at the same virtual times."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import cast

from systems.cache.clock import Pace
from systems.compose.composed import Parts
from systems.contract.meter import Meter
from systems.policies.listening import distinct
from systems.replay.assembly import ReplayedDrafter
from systems.replay.routing import Forward, Verifications, forward, joined
from systems.replay.trace import NOTHING, Header, Record
from systems.runtime.rows import seated
from systems.runtime.together import together


class _Row:
    """A request that is being replayed: its place in the batch, its record, and the position it has reached.

    Attributes:
        drafted, accepted: tokens of the draft at this position, and how many of them the target confirms.
        fresh: final tokens that nobody has been told of.
        unread: final tokens that the draft model has not read.
    """

    def __init__(self, place: int, record: Record) -> None:
        lists = record.lists
        self.place, self.record = place, record
        self._drafts: list[list[int]] = lists["drafts"]
        self._agreed: list[int] = lists["agreed"]
        self._answers: list[list[int]] = lists["answers"]
        self._hinted: list[list[list[list[int]]]] = lists["hinted"]
        self._confidences: list[list[list[list[float]]]] = lists["confidences"]
        self.verifying: Verifications = record.verifying
        self.position = self.drafted = self.accepted = 0
        self.unread = 1
        self.foreseen = False
        """Whether the draft alone would have gone on with all that the last step has committed."""
        self.fresh: list[int] = [record.first]

    def draft(self, most: int) -> None:
        """Propose so many tokens, or as many as the draft had."""
        tokens = self._drafts[self.position][:most]
        self.drafted = tokens.index(NOTHING) if NOTHING in tokens else len(tokens)

    def hinted(self, token: int, layer: int) -> list[int]:
        """Experts that a drafted token names."""
        return self._hinted[self.position][token][layer]

    def confidences(self, token: int, layer: int) -> list[float]:
        """The router's weights of these experts."""
        return self._confidences[self.position][token][layer]

    def verify(self) -> None:
        """Hear which of the drafted tokens are accepted."""
        self.accepted = min(self._agreed[self.position], self.drafted)

    def advance(self, most: int) -> None:
        """Go on behind what was accepted of a draft that could have had so many tokens; without any nothing is read."""
        self.fresh = self._answers[self.position][: self.accepted + 1]
        end = self.position + self.drafted
        self.foreseen = self.accepted == self.drafted and end < len(self._agreed) and self._agreed[end] > 0
        if most:
            self.unread = 2 if self.accepted == most else 1
        else:
            self.unread += len(self.fresh)
        self.position += self.accepted + 1


class Replay:
    """One batch, of which `seats` rows at most are decoded at once."""

    def __init__(
        self, parts: Parts, pace: Pace, header: Header, records: Sequence[Record], meter: Meter, seats: int
    ) -> None:
        self._cache, self._listener, self._hinting = parts.cache, parts.listener, parts.hinting
        drafter = cast("ReplayedDrafter", parts.drafter)
        self._depth, self._scheduler, self._governor = parts.depth, parts.scheduler, parts.governor
        self._ahead = parts.ahead
        self._draft_length, self._self_layer = drafter.draft_length, drafter.self_layer
        self._pace, self._header, self._meter = pace, header, meter
        self._waiting = deque(_Row(place, record) for place, record in enumerate(records))
        self._seats, self._begun = seats, False
        self._rows: list[_Row] = []

    def run(self) -> None:
        """Replay until the meter wants no more of any row."""
        self._cache.meter = self._meter
        try:
            while self._waiting or self._rows:
                if self._waiting and len(self._rows) < self._seats:
                    self._admit()
                else:
                    self._step()
        finally:
            self._listener.end()
        self._cache.end_generation()
        self._meter.traffic(self._cache.take_traffic())

    def _admit(self) -> None:
        present = len(self._rows)
        joining = [self._waiting.popleft() for _ in range(min(self._seats - present, len(self._waiting)))]
        with self._meter.span("prefill"):
            self._cache.end_step()
            self._cache.enter("prefill")
            self._listener.join(len(joining)) if self._begun else self._listener.begin(len(joining))
            lengths = [len(row.record.prompt) for row in joining]
            for some in together(lengths):
                self._listener.reading(present + some.start, lengths[some])
                self._forward(joined([row.record.reading for row in joining[some]]))
            self._meter.traffic(self._cache.take_traffic())
            self._cache.enter("decode")
            self._listener.decoding()
        self._begun = True
        self._rows += joining
        self._settle()

    def _step(self) -> None:
        began = self._pace.clock.now()
        wanted = self._draft_length if self._governor is None else self._governor.choose()
        length = min(wanted, max(self._meter.left(row.place) for row in self._rows) - 1)
        with self._meter.span("draft"):
            for row in self._rows:
                row.draft(length)
            drafting = self._pace.clock.now()
            self._draft(length)
            if self._ahead is not None:
                self._ahead.drafted(drafting, length, all(row.foreseen for row in self._rows))
        drafted = [row.drafted for row in self._rows]
        with self._meter.span("verify"):
            self._forward(self._verifying(max(drafted) + 1))
        for row in self._rows:
            row.verify()
        accepted = [row.accepted for row in self._rows]
        with self._meter.span("host"):
            self._cache.end_step()
            self._listener.end_step()
            self._meter.traffic(self._cache.take_traffic())
            self._meter.step([row.place for row in self._rows], drafted, accepted)
            if self._governor is not None:
                self._governor.observe(drafted, accepted, self._pace.clock.now() - began)
            for row in self._rows:
                row.advance(length)
            self._settle()

    def _draft(self, length: int) -> None:
        """Let the draft's layers pass, and its hints be heard."""
        if self._header.drafter == "model" and length:
            width = self._catch_up()
            for place in range(length):
                self._draft_forward(place, len(self._rows) * (width if place == 0 else 1))
        elif self._header.drafter == "quantised_self":
            self._self_draft(length)

    def _catch_up(self) -> int:
        """Let rows that lag behind the others read what they have more to read; return how much the first draft forward
        reads of each row. See `ModelDrafter`."""
        most = min(row.unread for row in self._rows) + 1
        for row in self._rows:
            if row.unread > most:
                for _ in self._header.draft_ordinals:
                    self._pace.draft_layer(row.unread - most)
                row.unread = most
        return max(row.unread for row in self._rows)

    def _draft_forward(self, place: int, tokens: int) -> None:
        depth = self._depth() if self._depth is not None else 0
        for ordinal in self._header.draft_ordinals:
            self._pace.draft_layer(tokens)
            if NOTHING < ordinal < depth:
                self._hinting.prefetch(ordinal, distinct([row.hinted(place, ordinal) for row in self._rows]))

    def _self_draft(self, length: int) -> None:
        scheduler = self._scheduler
        if scheduler is not None:
            scheduler.begin_step(length)
        for place in range(length):
            if scheduler is not None:
                scheduler.begin_token()
            for layer in range(self._header.layers):
                self._pace.self_layer(self._self_layer)
                if scheduler is not None:
                    chosen = [row.hinted(place, layer) for row in self._rows]
                    scheduler.routed(layer, chosen, [row.confidences(place, layer) for row in self._rows])
            if scheduler is not None:
                scheduler.end_token(place + 1, length)

    def _verifying(self, width: int) -> Forward:
        """The forward over so many tokens of every row."""
        if len(self._rows) == 1:
            return self._rows[0].verifying.at(self._rows[0].position, width)
        tokens, ahead = (
            [token for row in self._rows for token in row.record.lists[name][row.position][:width]]
            for name in ("routed", "ahead")
        )
        return forward(tokens, ahead, width)

    def _forward(self, layers: Forward) -> None:
        """One pass of the target."""
        pace, cache, listener = self._pace, self._cache, self._listener
        tokens = len(layers[0].chosen)
        for layer, routing in enumerate(layers):
            pace.half_layer(tokens)
            arriving = cache.visit(layer, routing.needed, routing.drafted)
            listener.routed(layer, routing.ahead, routing.chosen)
            experts = len(routing.needed)
            while arriving.take() >= 0:
                pace.expert(tokens, experts)

    def _settle(self) -> None:
        """Hand tokens over, where a row has some, and drop the rows that are done."""
        going = [self._goes_on(row) for row in self._rows]
        if all(going):
            return
        kept = seated(going)
        self._rows = [self._rows[index] for index in kept]
        if self._rows or self._waiting:
            self._listener.keep(kept)

    def _goes_on(self, row: _Row) -> bool:
        fresh, row.fresh = row.fresh, []
        return not fresh or not self._meter.commit(row.place, fresh)
