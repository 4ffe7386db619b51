"""Intervals by resampling prompts: prompts differ from each other far more than repeats of one prompt do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVEL = 0.95

Pair = tuple[float, float]
Interval = tuple[float, float | None, float | None]
"""A value and the bounds of its interval; without bounds where a single batch leaves nothing to resample."""


def pooled_interval(pairs: Sequence[Pair], seed: int) -> Interval:
    """Return `sum(up) / sum(down)` and its percentile interval over resampled pairs."""
    table = np.asarray(pairs, dtype=float)
    value = _ratio(table.sum(0))
    if len(table) < 2:
        return value, None, None
    sums = _resample(len(table), seed) @ table
    return (value, *_bounds(sums[:, 0], sums[:, 1]))


def paired_interval(baseline: Sequence[Pair], system: Sequence[Pair], seed: int) -> Interval:
    """Return the ratio of two pooled ratios, baseline / system, and its interval.

    Both sides of a draw use the same prompts: what makes a prompt slow for both cancels, which an unpaired
    interval would count as noise.
    """
    ours, theirs = np.asarray(system, dtype=float), np.asarray(baseline, dtype=float)
    if ours.shape != theirs.shape:
        raise ValueError(f"unpaired: {len(theirs)} and {len(ours)} batches of prompts")
    value = _ratio(theirs.sum(0)) / _ratio(ours.sum(0))
    if len(ours) < 2:
        return value, None, None
    weights = _resample(len(ours), seed)
    up, down = weights @ theirs, weights @ ours
    return (value, *_bounds(up[:, 0] * down[:, 1], up[:, 1] * down[:, 0]))


def _ratio(sums: NDArray[np.float64]) -> float:
    return float(sums[0] / sums[1])


def _resample(size: int, seed: int) -> NDArray[np.int64]:
    """Return how often each item is drawn, per draw: `[DRAWS, size]`."""
    return np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=DRAWS)


def _bounds(up: NDArray[np.float64], down: NDArray[np.float64]) -> tuple[float, float]:
    # A draw without any denominator (only prompts for which nothing was drafted, say) says nothing.
    ratios = up[down > 0] / down[down > 0]
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
