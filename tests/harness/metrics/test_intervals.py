from __future__ import annotations

import numpy as np
import pytest

from harness.metrics.intervals import Scale, certain, paired, paired_interval, pooled, pooled_interval

LEAST = 0.93
"""Coverage that is asked for."""
EXPERIMENTS = 10_000


def within(bounds: tuple[np.ndarray, np.ndarray, np.ndarray], truth: float) -> float:
    """Return the share of intervals that hold the truth."""
    return float(((bounds[1] <= truth) & (truth <= bounds[2])).mean())


@pytest.mark.parametrize("spread", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("prompts", [3, 10, 32])
def test_intervals_hold_the_truth_as_often_as_they_say(prompts: int, spread: float) -> None:
    """Prompts' times are lognormal, outputs of unequal length; of two systems, both of which take much longer for some
    prompts than for others, one is 1.3 times as fast."""
    draw = np.random.default_rng(prompts)
    shape = (EXPERIMENTS, prompts)
    tokens = draw.integers(5, 64, shape).astype(float)
    times = tokens * draw.lognormal(0, spread, shape)
    covered = within(pooled(times, tokens, "amount"), float(np.exp(spread**2 / 2)))
    assert LEAST <= covered <= 0.98, covered
    common = draw.lognormal(0, 1.0, shape)
    ours, theirs = (tokens * common * draw.lognormal(0, spread, shape) for _ in range(2))
    covered = within(paired(1.3 * theirs, tokens, ours, tokens), 1.3)
    assert LEAST <= covered <= 0.98, covered


@pytest.mark.parametrize("share", [0.02, 0.3, 0.75, 0.97])
@pytest.mark.parametrize("prompts", [3, 10, 32])
def test_shares_are_held_too_and_bounds_stay_within_theirs(prompts: int, share: float) -> None:
    """Drafts are accepted more on some prompts than on others; near 0 and 1 there is often none, or all."""
    draw = np.random.default_rng(prompts)
    offered = draw.integers(20, 60, (EXPERIMENTS, prompts))
    accepted = draw.binomial(offered, draw.beta(20 * share, 20 * (1 - share), offered.shape))
    value, low, high = pooled(accepted.astype(float), offered.astype(float), "share")
    assert within((value, low, high), share) >= LEAST
    assert low.min() >= 0
    assert high.max() <= 1
    assert (low <= value).all()
    assert (value <= high).all()


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_what_is_right_or_wrong_on_each_prompt(share: float) -> None:
    for prompts in (3, 10, 32):
        right = (np.random.default_rng(prompts).random((EXPERIMENTS, prompts)) < share).astype(float)
        assert within(pooled(right, np.ones_like(right), "share"), share) >= LEAST


def test_pooled_ratio_is_sum_over_sum_and_not_mean_of_ratios() -> None:
    value, low, high = pooled_interval([(1.0, 1.0), (9.0, 1.0), (10.0, 8.0)])
    assert value == 2.0  # the mean of ratios would be 3.75
    assert low is not None
    assert high is not None
    assert 0 < low < value < high


def test_known_values() -> None:
    """Of two prompts with 1 and 3 seconds a token each ratio left alone is 1 off; t with one degree of freedom."""
    reach = 12.706204736
    assert pooled_interval([(1.0, 1.0), (3.0, 1.0)], "signed") == pytest.approx((2.0, 2 - reach, 2 + reach))
    factor = np.exp(reach / 2)
    assert pooled_interval([(1.0, 1.0), (3.0, 1.0)]) == pytest.approx((2.0, 2 / factor, 2 * factor))
    odds = np.exp(reach * 0.1 / 0.24)  # shares of 0.3 and 0.5 are 0.1 off 0.4, whose odds are 2 : 3
    low, high = 2 / (2 + 3 * odds), 2 * odds / (2 * odds + 3)
    assert pooled_interval([(3.0, 10.0), (5.0, 10.0)], "share") == pytest.approx((0.4, low, high))


def test_no_spread_between_prompts_no_interval() -> None:
    assert pooled_interval([(2.0, 4.0)] * 5) == (0.5, 0.5, 0.5)
    assert pooled_interval([(2.0, 4.0)] * 5, "share") == (0.5, 0.5, 0.5)
    assert pooled_interval([(0.0, 4.0)] * 5) == (0.0, 0.0, 0.0)


def test_all_or_none_of_a_few_does_not_mean_always_or_never() -> None:
    least = 0.025 ** (1 / 4)
    assert pooled_interval([(8.0, 8.0)] * 4, "share") == pytest.approx((1.0, least, 1.0))
    assert pooled_interval([(0.0, 8.0)] * 4, "share") == pytest.approx((0.0, 0.0, 1 - least))
    assert certain(0.0, 4, -1.0) == pytest.approx((least - 1, 1 - least))


def test_a_single_batch_has_no_interval() -> None:
    assert pooled_interval([(2.0, 4.0)]) == (0.5, None, None)
    assert paired_interval([(2.0, 1.0)], [(1.0, 1.0)]) == (2.0, None, None)


@pytest.mark.parametrize("scale", ["amount", "share", "signed"])
def test_batches_that_say_nothing_do_not_count(scale: Scale) -> None:
    """Nothing was drafted for two of them; where that leaves one, there is nothing to compare it with."""
    told = [(3.0, 4.0), (1.0, 4.0), (2.0, 4.0)]
    assert pooled_interval([*told, (0.0, 0.0), (0.0, 0.0)], scale) == pooled_interval(told, scale)
    assert pooled_interval([(3.0, 4.0), (0.0, 0.0)], scale) == (0.75, None, None)


def test_a_numerator_in_one_prompt_alone_is_known_badly_but_known() -> None:
    value, low, high = pooled_interval([(6.0, 10.0), (0.0, 10.0), (0.0, 10.0)])
    assert value == 0.2
    assert low is not None
    assert high is not None
    assert 0 <= low < 0.01
    assert high > 2


def test_without_any_denominator_but_one_there_are_no_bounds() -> None:
    assert pooled_interval([(6.0, 10.0), (1.0, 0.0)]) == (0.7, None, None)


def test_differences_may_have_either_sign() -> None:
    value, low, high = pooled_interval([(-1.0, 1.0), (1.0, 1.0), (0.0, 1.0)], "signed")
    assert value == 0.0
    assert low == pytest.approx(-high if high is not None else None)
    assert low < -1


def test_pairing_cancels_what_prompts_have_in_common() -> None:
    """One system is 1.2 times as fast on every prompt, prompts differ tenfold: the ratio is known exactly."""
    times = np.linspace(1, 10, 16)
    baseline, system = [(1.2 * t, 10.0) for t in times], [(t, 10.0) for t in times]
    assert paired_interval(baseline, system) == pytest.approx((1.2, 1.2, 1.2))
    shuffled = [system[i] for i in np.random.default_rng(0).permutation(16)]
    _, low, high = paired_interval(baseline, shuffled)
    assert low is not None
    assert high is not None
    assert high - low > 0.3


def test_pairing_needs_the_same_prompts() -> None:
    with pytest.raises(ValueError, match="unpaired"):
        paired_interval([(1.0, 1.0)], [(1.0, 1.0), (2.0, 1.0)])
