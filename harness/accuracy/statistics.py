"""Intervals of scores, and the comparison of two systems on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.metrics.bootstrap import DRAWS, LEVEL, Interval, pooled_interval


def interval(scores: Sequence[float], seed: int) -> Interval:
    """Return the mean and its bootstrap interval over prompts.

    Where all are right, or all wrong, resampling knows no spread: the exact binomial bound takes its place
    (Clopper and Pearson, 1934), as "0 of 16" does not mean "never".
    """
    if set(scores) not in ({0.0}, {1.0}):
        return pooled_interval([(score, 1.0) for score in scores], seed)
    from scipy.stats import binomtest

    bounds = binomtest(int(sum(scores)), len(scores)).proportion_ci(LEVEL, method="exact")
    return scores[0], float(bounds.low), float(bounds.high)


def difference(system: Sequence[float], reference: Sequence[float], seed: int) -> Interval:
    """Return the mean difference of two systems' scores on the same prompts and its paired bootstrap interval."""
    deltas = np.asarray(system, dtype=float) - np.asarray(reference, dtype=float)
    if len(deltas) < 2:
        return float(deltas.mean()), None, None
    draws = np.random.default_rng(seed).integers(len(deltas), size=(DRAWS, len(deltas)))
    low, high = np.quantile(deltas[draws].mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(deltas.mean()), float(low), float(high)


def mcnemar(lost: int, gained: int) -> float:
    """Return the two-sided p-value that prompts flip as unevenly by chance (McNemar, 1947, exact).

    Only prompts on which the systems differ count; under the null hypothesis each flips either way like a coin.
    """
    if lost + gained == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, 0.5).pvalue)
