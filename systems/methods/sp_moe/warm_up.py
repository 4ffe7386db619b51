"""What a system with an open cutoff keeps of its warm-up: all that playing it over at another depth takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from systems.contract.meter import NullMeter
from systems.contract.requests import Request
from systems.policies.listening import Chosen, Listener

MOST_VISITS = 4096
"""Visits of layers that are kept of a batch, its first ones: more than a hundred tokens take at 48 layers. It bounds
what choosing takes to a few tenths of a second per batch and depth."""


class Routed:
    """One layer of a forward.

    Attributes:
        tokens: how many were routed.
        needed: distinct experts, ascending, and how many tokens choose each.
        chosen: experts per token; nothing where nobody listens.
    """

    __slots__ = ("chosen", "needed", "tokens")

    def __init__(self, chosen: Chosen, heard: bool) -> None:
        counts: dict[int, int] = {}
        for token in chosen:
            for expert in token:
                counts[expert] = counts.get(expert, 0) + 1
        self.tokens = len(chosen)
        self.needed = {expert: counts[expert] for expert in sorted(counts)}
        self.chosen: Chosen = chosen if heard else []


class Reading:
    """Prompts that were read together: of the rows from `first` on, of these lengths."""

    __slots__ = ("first", "layers", "lengths")

    def __init__(self, first: int, lengths: Sequence[int]) -> None:
        self.first, self.lengths = first, lengths
        self.layers: list[Routed] = []


class Step:
    """One draft-verify cycle, whatever was in the slots.

    Attributes:
        kept: rows that go on into it, in their new order; None: all as before.
        rows: how many there are.
        unread: tokens that the first draft forward reads, of all rows together.
        hints: per draft forward the experts that it names, by layer.
        layers: the verification.
    """

    __slots__ = ("hints", "kept", "layers", "rows", "unread")

    def __init__(self, kept: Sequence[int] | None) -> None:
        self.kept, self.rows, self.unread = kept, 0, 0
        self.hints: list[dict[int, Sequence[int]]] = []
        self.layers: list[Routed] = []


class Batch:
    """One generation: so many rows, their prompts, their steps."""

    __slots__ = ("readings", "rows", "steps")

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.readings: list[Reading] = []
        self.steps: list[Step] = []


class WarmUp(Listener):
    """Hears a system on behalf of its own listener, if it has one, and keeps what it hears while it learns.

    Attributes:
        batches: what it has kept, one for each generation.
    """

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener or Listener()
        self._heard = listener is not None
        self.batches: list[Batch] = []
        self._learning = self._prefill = False
        self._visits = 0
        self._step: Step | None = None
        self._kept: Sequence[int] | None = None
        self._unread: dict[int, int] = {}
        """By place of a row in the batch, how many tokens its next draft begins with."""

    def learn(self, on: bool) -> None:
        """Keep what follows, or no more."""
        self._listener.learn(on)
        self._learning = on

    def meter(self, requests: Sequence[Request], stop_tokens: frozenset[int]) -> NullMeter:
        """Return what a generation that is to be kept reports to."""
        return _Steps(self, [request.max_new_tokens for request in requests], stop_tokens)

    def begin(self, rows: int) -> None:
        """A batch."""
        self._listener.begin(rows)
        if self._learning:
            self.batches.append(Batch(rows))
            self._visits, self._step, self._kept, self._unread = 0, None, None, {}

    def join(self, rows: int) -> None:
        """Warm-ups start all rows at once."""
        self._listener.join(rows)
        assert not self._learning, "a warm-up hands over no more requests than it decodes at once"

    def reading(self, first: int, lengths: Sequence[int]) -> None:
        """Prompts."""
        self._listener.reading(first, lengths)
        self._prefill = True
        if self._learning:
            self.batches[-1].readings.append(Reading(first, lengths))

    def decoding(self) -> None:
        """No prompts any more."""
        self._listener.decoding()
        self._prefill = False

    def hint(self, layer: int, experts: Sequence[int]) -> None:
        """A draft forward has reached `layer` and names experts for it; layers come in order."""
        if (step := self._open()) is None:
            return
        if not step.hints or layer in step.hints[-1]:
            step.hints.append({})
        step.hints[-1][layer] = list(experts)

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """The next layer of a forward."""
        self._listener.routed(layer, hidden, chosen)
        if self._prefill:
            if self._learning:
                self.batches[-1].readings[-1].layers.append(Routed(chosen, self._heard))
        elif (step := self._open()) is not None:
            step.layers.append(Routed(chosen, self._heard))
            self._visits += 1

    def end_step(self) -> None:
        """Who it was, `stepped` will say."""
        self._listener.end_step()

    def stepped(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        """A step has ended; a draft that was accepted to the end leaves its last token unread, beside the target's."""
        if (step := self._step) is not None:
            step.rows = len(rows)
            step.unread = len(rows) * max([self._unread.get(row, 1) for row in rows])
            self.batches[-1].steps.append(step)
        self._step = None
        self._unread = {
            row: 1 + (accepted[place] == drafted[place]) if drafted[place] else self._unread.get(row, 1) + 1
            for place, row in enumerate(rows)
        }

    def keep(self, rows: Sequence[int]) -> None:
        """Rows that have finished leave before the next step."""
        self._listener.keep(rows)
        self._kept = rows

    def end(self) -> None:
        """The batch is over."""
        self._listener.end()
        self._step = None

    def _open(self) -> Step | None:
        """The step that is going on; None where none is kept."""
        if self._step is None and self._learning and self._visits < MOST_VISITS:
            self._step, self._kept = Step(self._kept), None
        return self._step


class _Steps(NullMeter):
    """Tells a warm-up where its steps end."""

    def __init__(self, warm_up: WarmUp, limits: Sequence[int], stop_tokens: frozenset[int]) -> None:
        super().__init__(limits, stop_tokens)
        self._warm_up = warm_up

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        """A step has ended."""
        self._warm_up.stepped(rows, drafted, accepted)
