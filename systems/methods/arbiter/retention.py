"""Whether a draft model earns its memory: the warm-up is run with it, and once more with experts in its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from systems.contract.meter import NullMeter
from systems.contract.requests import Request
from systems.policies.draft_lengths import DraftGovernor

if TYPE_CHECKING:  # a replay needs no tensors
    from systems.runtime.drafting import Drafter


@dataclass
class Retention:
    """Both ways to spend the same memory, and what they have taken so far.

    Attributes:
        drafter, plain: what drafts, and what drafts nothing and takes no memory.
        governor: of the draft's length.
        beside, instead: slots beside the draft model, and those in its place, too.
    """

    drafter: Drafter
    plain: Drafter
    governor: DraftGovernor | None
    beside: int
    instead: int
    keeps: bool = True
    taken: dict[bool, list[tuple[float, int]]] = field(default_factory=lambda: {True: [], False: []})
    """Seconds and tokens of each warm-up, with the draft model and without it."""

    def note(self, drafts: bool, watch: Stopwatch) -> None:
        """A generation with the draft model, or without it, is over."""
        self.taken[drafts].append((watch.seconds, watch.decoded))

    def per_token(self, drafts: bool, without: int | None = None) -> float:
        """Seconds of a decoded token, one of the warm-ups left out; infinite where none was decoded."""
        counted = [pair for place, pair in enumerate(self.taken[drafts]) if place != without]
        tokens = sum(decoded for _, decoded in counted)
        return sum(seconds for seconds, _ in counted) / tokens if tokens else float("inf")

    def decide(self) -> bool:
        """Return whether to keep the draft model: if it is faster whichever warm-up is left out, and if nothing was
        decoded. What a single prompt decides would not hold for the next ones."""
        count = len(self.taken[False])
        left_out: Sequence[int | None] = range(count) if count > 1 else (None,)
        self.keeps = all(self.per_token(True, place) <= self.per_token(False, place) for place in left_out)
        return self.keeps

    def describe(self) -> dict[str, Any]:
        """What was found, for the record."""
        found = [self.per_token(drafts) for drafts in (True, False)]
        times = [seconds * 1e3 if math.isfinite(seconds) else None for seconds in found]
        return {"draft_kept": self.keeps, "draft_kept_ms": times[0], "draft_given_up_ms": times[1]}


class Stopwatch(NullMeter):
    """Times the decoding of a batch: from the first commit to the last, the first token of each row left out."""

    def __init__(self, requests: Sequence[Request], stop_tokens: frozenset[int], now: Callable[[], float]) -> None:
        super().__init__([request.max_new_tokens for request in requests], stop_tokens)
        self._now = now
        self._first: float | None = None
        self._last = 0.0

    def commit(self, row: int, tokens: Sequence[int]) -> bool:
        """Note the time."""
        self._last = self._now()
        if self._first is None:
            self._first = self._last
        return super().commit(row, tokens)

    @property
    def seconds(self) -> float:
        """From the first commit to the last."""
        return 0.0 if self._first is None else self._last - self._first

    @property
    def decoded(self) -> int:
        """Tokens behind the first of each row."""
        return sum(len(row) - 1 for row in self.tokens if row)
