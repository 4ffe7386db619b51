"""Intervals over prompts that keep their word where there are few: prompts differ far more than repeats of one do.

A ratio of sums is put on a scale without limits (the logarithm of an amount, the log odds of a share). Its standard
error there is the jackknife's (Tukey, 1958): how much the ratio changes as each prompt in turn is left out. Student's t
says how far to reach, with one degree of freedom less than there are effective prompts (Kish, 1965): beside one that
makes most of the sum the others count for little. Of intervals at 95 %, so many hold the truth where prompts' times are
lognormal (standard deviation 0.2, outputs of 5 to 63 tokens): 96, 95 and 95 % with 3, 10 and 32 prompts. Percentiles of
resampled prompts, which need hundreds of prompts to be right, hold it in 75, 89 and 93 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95

Pair = tuple[float, float]
Interval = tuple[float, float | None, float | None]
"""A value and the bounds of its interval; without bounds where a single batch leaves nothing to compare."""
Scale = Literal["amount", "share", "signed"]
"""What a ratio may be: above 0, from 0 to 1, or anything."""
Array = NDArray[np.float64]
Bounds = tuple[Array, Array, Array]
"""Values, and the lower and upper bounds of their intervals."""


def pooled_interval(pairs: Sequence[Pair], scale: Scale = "amount") -> Interval:
    """Return `sum(up) / sum(down)` and its interval over batches of prompts."""
    table = np.asarray(pairs, dtype=float)
    # A batch without either (one for which nothing was drafted, say) says nothing.
    told = table[table.any(axis=1)]
    if len(told) < 2:
        return _ratio(table), None, None
    return _known(pooled(told[:, 0], told[:, 1], scale))


def paired_interval(baseline: Sequence[Pair], system: Sequence[Pair]) -> Interval:
    """Return the ratio of two pooled ratios, baseline / system, and its interval over batches of prompts.

    A prompt is left out on both sides at once: what makes it slow for both cancels, which an unpaired interval would
    count as noise.
    """
    ours, theirs = np.asarray(system, dtype=float), np.asarray(baseline, dtype=float)
    if ours.shape != theirs.shape:
        raise ValueError(f"unpaired: {len(theirs)} and {len(ours)} batches of prompts")
    told = ours.any(axis=1) | theirs.any(axis=1)
    if told.sum() < 2:
        return _ratio(theirs) / _ratio(ours), None, None
    return _known(paired(*theirs[told].T, *ours[told].T))


def certain(value: float, count: int, lowest: float = 0.0, highest: float = 1.0) -> tuple[float, float]:
    """Return how far the mean may be from `value` where each of `count` prompts has it exactly.

    "0 of 16" does not mean "never": more than `share` of all prompts cannot be otherwise, and those no further off than
    lowest and highest. Of what is either right or wrong these are Clopper and Pearson's bounds (1934).
    """
    share = float(1 - ((1 - LEVEL) / 2) ** (1 / count))
    return value - share * (value - lowest), value + share * (highest - value)


def pooled(up: Array, down: Array, scale: Scale) -> Bounds:
    """Return the ratios of sums over the last axis, which is that of prompts: `[..., prompts]`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _interval(_sum(up) / _sum(down), _rest(up) / _rest(down), _part(down), scale)


def paired(up: Array, down: Array, other_up: Array, other_down: Array) -> Bounds:
    """Return `(sum(up) / sum(down)) / (sum(other_up) / sum(other_down))` of the same prompts: `[..., prompts]`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = _sum(up) / _sum(down) / (_sum(other_up) / _sum(other_down))
        without = _rest(up) / _rest(down) / (_rest(other_up) / _rest(other_down))
        return _interval(value, without, _part(other_up), "amount")


def _interval(value: Array, without: Array, parts: Array, scale: Scale) -> Bounds:
    """Return values with their bounds; those that cannot be given are no finite numbers.

    Args:
        value: `[...]`.
        without: the same with each prompt left out, `[..., prompts]`.
        parts: share of each prompt in what a value rests on, `[..., prompts]`.
    """
    from scipy.special import stdtrit

    count = without.shape[-1]
    spread = without - without.mean(axis=-1, keepdims=True)
    error = np.sqrt((count - 1) / count * (spread**2).sum(axis=-1))
    freedom = np.maximum(1 / (parts**2).sum(axis=-1) - 1, 1)
    reach = stdtrit(freedom, (1 + LEVEL) / 2) * error
    if scale == "signed":
        return value, value - reach, value + reach
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if scale == "amount":
            factor = np.exp(reach / value)
            return value, np.where(value == 0, 0.0, value / factor), np.where(value == 0, 0.0, value * factor)
        odds, factor = value / (1 - value), np.exp(reach / (value * (1 - value)))
        low, high = np.fmin(1 / (1 + factor / odds), value), np.fmax(1 / (1 + 1 / (odds * factor)), value)
    none, all_ = certain(0.0, count), certain(1.0, count)
    at = [value <= 0, value >= 1]
    return value, np.select(at, [none[0], all_[0]], low), np.select(at, [none[1], all_[1]], high)


def _known(found: Bounds) -> Interval:
    """Return one interval as plain numbers. Where all but one prompt have nothing to divide by, or nearly, it is as if
    there were one: no bounds."""
    value, low, high = (float(number) for number in found)
    return (value, low, high) if np.isfinite([low, high]).all() else (value, None, None)


def _ratio(table: Array) -> float:
    up, down = table.sum(axis=0)
    return float(up / down)


def _sum(numbers: Array) -> Array:
    return np.asarray(numbers.sum(axis=-1))


def _rest(numbers: Array) -> Array:
    """Return the sum without each of the numbers."""
    return np.asarray(numbers.sum(axis=-1, keepdims=True) - numbers)


def _part(numbers: Array) -> Array:
    return np.asarray(numbers / numbers.sum(axis=-1, keepdims=True))
