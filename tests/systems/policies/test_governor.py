"""The amortisation roofline worked out by hand."""

import pytest

from systems.policies.governor import CycleCosts, Governor


def governor(chance: float, token: float = 1.0, verify: float = 4.0, longest: int = 6, **options: float) -> Governor:
    costs = CycleCosts(0.0, token, lambda width: verify, first_fetch=0.0, overhead=0.0, transfer=2.0)
    made = Governor(costs, longest, **options)  # type: ignore[arg-type]
    made.chances = [chance] * longest
    return made


def test_expected_tokens_and_cycle_time() -> None:
    made = governor(0.5)
    made.fresh = [0, 1, 1, 3, 3, 3, 3]
    assert made.accepted_tokens(3) == pytest.approx(0.5 + 0.25 + 0.125)
    assert made.cycle_time(3) == 3 * 1.0 + 3 * 2.0 + 4.0
    assert made.theta(3) == pytest.approx(1.875 / 13.0)


def test_the_first_fetch_is_hidden_by_drafting_once_that_takes_longer() -> None:
    costs = CycleCosts(0.5, 1.0, lambda width: float(width), first_fetch=3.0, overhead=0.25, transfer=1.0)
    made = Governor(costs, 4)
    assert made.cycle_time(1) == 3.0 + 0.25 + 2.0
    assert made.cycle_time(4) == 4.5 + 0.25 + 5.0


def test_sure_drafts_are_worth_a_long_cycle_and_unsure_ones_are_not() -> None:
    """theta(k) = (k + 1) / (k + 4) rises for ever; at chance 0 it is 1 / (k + 4) and falls."""
    assert governor(1.0).choose() == 6
    assert governor(0.0).choose() == 1


def test_the_best_length_of_a_synthetic_roofline() -> None:
    """Chance 0.8, 1 s a draft, 4 s a verification: theta = 0.36 0.407 0.4217 0.4202 0.410 0.395; k* = 3."""
    made = governor(0.8)
    thetas = [made.theta(k) for k in range(1, 7)]
    assert thetas == pytest.approx([0.36, 0.40667, 0.42171, 0.42020, 0.40996, 0.39514], abs=1e-4)
    assert made.choose() == 3


def test_new_experts_make_long_drafts_dear() -> None:
    made = governor(0.8)
    made.fresh = [0, 0, 0, 4, 4, 4, 4]
    assert made.choose() == 2


def test_a_latency_bound_caps_the_length() -> None:
    assert governor(1.0, latency=7.5).choose() == 3
    assert governor(1.0, latency=0.1).choose() == 1, "nothing fits: the shortest"


def test_chances_are_conditional_on_all_drafts_before() -> None:
    """Of 3 drafts 1 was accepted: draft 1 right, draft 2 wrong, nothing is known about draft 3."""
    made = governor(0.5)
    made.observe(3, [1], [2, 3, 5])
    assert made.chances[0] == pytest.approx(0.75)
    assert made.chances[1] == pytest.approx(0.25)
    assert made.chances[2] == 0.5


def test_the_averages_forget() -> None:
    made = governor(0.5)
    for _ in range(200):
        made.observe(2, [2], [1, 2])
    assert made.chances[0] > 0.99
    assert made.fresh[1:3] == pytest.approx([1.0, 2.0], abs=1e-6)
    assert made.fresh[6] == pytest.approx(2.0, abs=1e-6), "longer drafts name at least as many"
    for _ in range(200):
        made.observe(2, [0], [0, 0])
    assert made.chances[0] < 0.01
    assert made.fresh[2] < 0.01
