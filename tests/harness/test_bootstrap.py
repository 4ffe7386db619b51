from __future__ import annotations

import numpy as np
import pytest

from harness.metrics.bootstrap import paired_interval, pooled_interval


def test_pooled_ratio_is_sum_over_sum_and_not_mean_of_ratios() -> None:
    value, low, high = pooled_interval([(1.0, 1.0), (9.0, 1.0), (10.0, 8.0)], seed=0)
    assert value == 2.0  # the mean of ratios would be 3.75
    assert low is not None
    assert high is not None
    assert low < value < high


def test_no_spread_between_prompts_no_interval() -> None:
    assert pooled_interval([(2.0, 4.0)] * 5, seed=0) == (0.5, 0.5, 0.5)


def test_a_single_batch_has_no_interval() -> None:
    assert pooled_interval([(2.0, 4.0)], seed=0) == (0.5, None, None)
    assert paired_interval([(2.0, 1.0)], [(1.0, 1.0)], seed=0) == (2.0, None, None)


def test_seeded() -> None:
    pairs = [(float(i), 2.0) for i in range(1, 9)]
    assert pooled_interval(pairs, seed=3) == pooled_interval(pairs, seed=3)
    assert pooled_interval(pairs, seed=3) != pooled_interval(pairs, seed=4)


def test_pairing_cancels_what_prompts_have_in_common() -> None:
    """One system is 1.2 times as fast on every prompt, prompts differ tenfold: the ratio is known exactly."""
    times = np.linspace(1, 10, 16)
    baseline, system = [(1.2 * t, 10.0) for t in times], [(t, 10.0) for t in times]
    assert paired_interval(baseline, system, seed=0) == pytest.approx((1.2, 1.2, 1.2))
    shuffled = [system[i] for i in np.random.default_rng(0).permutation(16)]
    _, low, high = paired_interval(baseline, shuffled, seed=0)
    assert high - low > 0.3


def test_pairing_needs_the_same_prompts() -> None:
    with pytest.raises(ValueError, match="unpaired"):
        paired_interval([(1.0, 1.0)], [(1.0, 1.0), (2.0, 1.0)], seed=0)


def test_coverage_is_about_nominal() -> None:
    """Of many experiments with a known ratio, about 95 % of intervals contain it."""
    generator = np.random.default_rng(1)
    hits = 0
    for seed in range(200):
        noise = generator.normal(1.0, 0.1, size=24)
        _, low, high = paired_interval([(1.5 * n, 1.0) for n in noise], [(1.0, 1.0)] * 24, seed)
        hits += low <= 1.5 <= high
    assert 0.88 <= hits / 200 <= 0.99
