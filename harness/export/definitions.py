"""The definitions that other tools have for the same few names; docs/other-tools.md sets them side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from harness.export.records import Request

Steps = Sequence[tuple[int, int]]
"""(drafted, accepted) of draft-verify cycles that drafted."""


def excluding_first(request: Request) -> float | None:
    """Return (last - first token) / (n - 1) in seconds: TPOT of vLLM and MLPerf, ITL of AIPerf and GuideLLM."""
    return (request.latency - request.ttft) / (request.n - 1) if request.n > 1 else None


def including_first(request: Request) -> float:
    """Return (last token - start) / n in seconds: TPOT of GuideLLM, with the time to the first token in it."""
    return request.latency / request.n


class Acceptance(NamedTuple):
    """Counts of all cycles that drafted, drafts behind the end of an output included: engines count so."""

    drafts: int
    draft_tokens: int
    accepted_tokens: int

    @property
    def rate(self) -> float:
        """Accepted / drafted."""
        return self.accepted_tokens / self.draft_tokens

    @property
    def length(self) -> float:
        """Tokens per cycle, the bonus token among them."""
        return 1 + self.accepted_tokens / self.drafts


def acceptance(steps: Steps) -> Acceptance | None:
    """Add cycles up; None where nothing was drafted."""
    return Acceptance(len(steps), sum(d for d, _ in steps), sum(a for _, a in steps)) if steps else None


def by_position(steps: Steps) -> list[float]:
    """Return the share of cycles that accepted at least 1, 2, ... drafts: vLLM's per-position rates, marginal."""
    longest = max((drafted for drafted, _ in steps), default=0)
    return [sum(accepted >= i for _, accepted in steps) / len(steps) for i in range(1, longest + 1)]


def histogram(steps: Steps) -> dict[int, int]:
    """Return how many cycles accepted so many drafts."""
    return dict(sorted(Counter(accepted for _, accepted in steps).items()))


class Spread(NamedTuple):
    """A sample's mean, median, standard deviation and percentiles, interpolated linearly."""

    mean: float
    median: float
    std: float
    least: float
    most: float
    percentiles: dict[float, float]


def spread(values: Sequence[float], percentiles: Sequence[float]) -> Spread | None:
    """Describe values, the deviation as of a whole population; None where there are none."""
    import numpy as np

    if not values:
        return None
    at = {point: float(np.percentile(values, point)) for point in percentiles}
    return Spread(float(np.mean(values)), float(np.median(values)), float(np.std(values)), min(values), max(values), at)
