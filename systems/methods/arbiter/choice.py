"""What pays on the machine at hand and what does not: the warm-up is run both ways, and says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from systems.methods.arbiter.stopwatch import Stopwatch
from systems.policies.part import Switch

if TYPE_CHECKING:  # a replay needs no tensors
    from systems.policies.draft_lengths import DraftGovernor
    from systems.runtime.drafting import Drafter


@dataclass
class Choice:
    """Something that a system may do or leave, and what it has taken so far either way.

    Attributes:
        name: of what is kept or given up, in the record.
        switch: lets a system do it, or leave it.
    """

    name: str
    switch: Switch
    kept: bool = True
    taken: dict[bool, list[tuple[float, int]]] = field(default_factory=lambda: {True: [], False: []})
    """Seconds and tokens of each warm-up, with it and without it."""

    def note(self, on: bool, watch: Stopwatch) -> None:
        """A generation with it, or without it, is over."""
        self.taken[on].append((watch.seconds, watch.decoded))

    def forget(self) -> None:
        """What was found was found of another system."""
        self.taken = {True: [], False: []}

    def per_token(self, on: bool, without: int | None = None) -> float:
        """Seconds of a decoded token, one of the warm-ups left out; infinite where none was decoded."""
        counted = [pair for place, pair in enumerate(self.taken[on]) if place != without]
        tokens = sum(decoded for _, decoded in counted)
        return sum(seconds for seconds, _ in counted) / tokens if tokens else float("inf")

    def decide(self) -> bool:
        """Return whether to keep it: if it is faster whichever warm-up is left out, and if nothing was decoded. What a
        single prompt decides would not hold for the next ones."""
        count = len(self.taken[False])
        left_out: Sequence[int | None] = range(count) if count > 1 else (None,)
        self.kept = all(self.per_token(True, place) <= self.per_token(False, place) for place in left_out)
        return self.kept

    def describe(self) -> dict[str, Any]:
        """What was found, for the record."""
        found = [self.per_token(on) for on in (True, False)]
        times = [seconds * 1e3 if math.isfinite(seconds) else None for seconds in found]
        names = (f"{self.name}_kept", f"{self.name}_kept_ms", f"{self.name}_given_up_ms")
        return dict(zip(names, (self.kept, *times), strict=True))


@dataclass(frozen=True)
class DraftOrExperts:
    """Both ways to spend the memory of a draft model: a `Switch`.

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

    def __call__(self, parts: Any, on: bool) -> None:
        """Let the draft model draft, or experts take its memory."""
        parts.drafter, parts.governor = (self.drafter, self.governor) if on else (self.plain, None)
        parts.cache.resize(self.beside if on else self.instead)
