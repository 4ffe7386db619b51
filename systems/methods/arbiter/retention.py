"""Whether a draft model earns its memory: the warm-up is run with it, and once more with experts in its place."""

from __future__ import annotations

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
    seconds: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})
    tokens: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})

    def note(self, drafts: bool, watch: Stopwatch) -> None:
        """A generation with the draft model, or without it, is over."""
        self.seconds[drafts] += watch.seconds
        self.tokens[drafts] += watch.decoded

    def per_token(self, drafts: bool) -> float:
        """Seconds of a decoded token; infinite where none was."""
        return self.seconds[drafts] / self.tokens[drafts] if self.tokens[drafts] else float("inf")

    def decide(self) -> bool:
        """Return whether to keep the draft model: if nothing was decoded, too."""
        self.keeps = self.per_token(True) <= self.per_token(False)
        return self.keeps

    def describe(self) -> dict[str, Any]:
        """What was found, for the record."""
        times = [self.per_token(drafts) * 1e3 if self.tokens[drafts] else None for drafts in (True, False)]
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
