"""pass@k: the chance that one of k samples of a problem is right, from n samples (arXiv 2107.03374, eq. 1).

Prevents two misreadings: the biased `1 - (1 - c/n)^k`, and a 1.0 or 0.0 for problems with fewer than k samples, which
are unknown here (NaN).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate


class PassAtK(evaluate.Metric):  # type: ignore[misc]
    """Takes whether each sample of each problem was right; it runs nothing itself."""

    def _info(self) -> Any:
        return evaluate.MetricInfo(
            description=str(__doc__),
            citation="arXiv 2107.03374",
            inputs_description="predictions: per problem, whether each sample is right; k: sizes",
            features=datasets.Features({"predictions": datasets.Sequence(datasets.Value("bool"))}),
        )

    def _compute(self, predictions: Sequence[Sequence[bool]], k: Sequence[int] = (1,)) -> dict[str, Any]:
        """Return `pass_at_K` over all problems, and `pass_at_K_scores`, one per problem, for each size."""
        found: dict[str, Any] = {}
        for size in k:
            scores = [estimate(len(samples), sum(samples), size) for samples in predictions]
            found[f"pass_at_{size}"] = math.fsum(scores) / len(scores) if scores else math.nan
            found[f"pass_at_{size}_scores"] = scores
        return found


def estimate(samples: int, right: int, k: int) -> float:
    """Return 1 - C(n - c, k) / C(n, k), as a product that no large binomial overflows."""
    if samples < k:
        return math.nan
    if samples - right < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - right + 1, samples + 1))
