"""Intervals of scores, and the comparison of two systems on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence

from harness.metrics.intervals import Interval, certain, pooled_interval


def interval(scores: Sequence[float]) -> Interval:
    """Return the mean of scores from 0 to 1 and its interval over prompts."""
    return pooled_interval([(score, 1.0) for score in scores], "share")


def difference(system: Sequence[float], reference: Sequence[float]) -> Interval:
    """Return the mean difference of two systems' scores on the same prompts and its interval over prompts.

    No prompt told apart does not mean that none would be.
    """
    deltas = [mine - theirs for mine, theirs in zip(system, reference, strict=True)]
    value, low, high = pooled_interval([(delta, 1.0) for delta in deltas], "signed")
    if low is None or high is None:
        return value, None, None
    if len(set(deltas)) == 1:
        return value, *certain(value, len(deltas), lowest=-1.0)
    return value, max(low, -1.0), min(high, 1.0)


def mcnemar(lost: int, gained: int) -> float:
    """Return the two-sided p-value that prompts flip as unevenly by chance (McNemar, 1947, exact).

    Only prompts on which the systems differ count; under the null hypothesis each flips either way like a coin.
    """
    if lost + gained == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, 0.5).pvalue)
