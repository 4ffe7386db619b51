"""Whether a draft model earns its memory: the warm-up is run with it, and once more with experts in its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from systems.methods.arbiter.stopwatch import Stopwatch
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
