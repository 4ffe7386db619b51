"""The amortisation roofline worked out by hand."""

import pytest

from systems.methods.moe_speq.governor import PROBE, CycleCosts, Roofline


def governor(
    chance: float, token: float = 1.0, verify: float = 4.0, longest: int = 6, latency: float | None = None
) -> Roofline:
    costs = CycleCosts(0.0, token, lambda width: verify, first_fetch=0.0, overhead=0.0, transfer=2.0)
    made = Roofline(costs, longest, latency)
    made.chances = [chance] * longest
    return made


def step(length: int, accepted: int, seconds: float) -> tuple[list[int], list[int], float]:
    """Of one row."""
    return [length], [accepted], seconds


def test_expected_tokens_and_cycle_time() -> None:
    """Four positions miss 5 experts: 10 s of transfers, of which 3 s pass while three tokens are drafted and 4 s
    while the verification computes."""
    made = governor(0.5)
    made.fresh = [0, 1, 1, 3, 5, 5, 5]
    assert made.accepted_tokens(3) == pytest.approx(0.5 + 0.25 + 0.125)
    assert made.cycle_time(3) == 3 * 1.0 + 4.0 + (5 * 2.0 - 3 * 1.0 - 4.0)
    assert made.theta(3) == pytest.approx(1.875 / 10.0)


def test_the_position_behind_the_last_draft_needs_experts_too() -> None:
    """Of the longest draft it misses as many as the last one named anew: 8 + 2."""
    made = governor(0.5)
    made.fresh = [0, 2, 4, 5, 6, 6, 8]
    assert made.cycle_time(6) == 6 * 1.0 + 4.0 + (10 * 2.0 - 6 * 1.0 - 4.0)
    assert made.cycle_time(0) == 4.0 + 0.0, "one position misses two experts: 4 s, beside 4 s of computing"


def test_the_first_fetch_is_hidden_by_drafting_once_that_takes_longer() -> None:
    costs = CycleCosts(0.5, 1.0, lambda width: float(width), first_fetch=3.0, overhead=0.25, transfer=1.0)
    made = Roofline(costs, 4)
    assert made.cycle_time(1) == 3.0 + 2.0
    assert made.cycle_time(4) == 4.5 + 5.0
    assert made.cycle_time(0) == 1.0, "nothing is drafted, nothing is fetched for it"


def test_sure_drafts_are_worth_a_long_cycle_and_unsure_ones_are_not() -> None:
    """theta(k) = (k + 1) / (k + 4) rises for ever; at chance 0 it is 1 / (k + 4) and falls."""
    assert governor(1.0).choose() == 6
    assert governor(0.0).choose() == 0, "plain decoding"


def test_the_best_length_of_a_synthetic_roofline() -> None:
    """Chance 0.8, 1 s a draft, 4 s a verification: theta = 0.25 0.36 0.407 0.4217 0.4202 0.410 0.395; k* = 3."""
    made = governor(0.8)
    thetas = [made.theta(k) for k in range(7)]
    assert thetas == pytest.approx([0.25, 0.36, 0.40667, 0.42171, 0.42020, 0.40996, 0.39514], abs=1e-4)
    assert made.choose() == 3


def test_new_experts_make_long_drafts_dear() -> None:
    made = governor(0.8)
    made.fresh = [0, 0, 0, 9, 9, 9, 9]
    assert made.choose() == 1, "the third position, which two drafts verify, is the first that misses any"


def test_a_latency_bound_caps_the_length() -> None:
    assert governor(1.0, latency=7.5).choose() == 3
    assert governor(1.0, latency=0.1).choose() == 0, "nothing fits: the shortest"


def test_what_has_been_tried_takes_what_it_took() -> None:
    """The roofline says 7 s for three tokens, it took 14; two and four are then expected to take twice as long, too."""
    made = governor(0.8)
    for _ in range(3):
        made.observe(*step(3, 3, 14.0))
    assert made.cycle_time(3) == pytest.approx(14.0)
    assert made.cycle_time(2) == pytest.approx(12.0)
    made.observe(*step(2, 2, 5.0))
    assert made.cycle_time(2) == 5.0
    assert made.cycle_time(1) == pytest.approx(5.0 * 5.0 / 6.0), "off by as much as the nearest"
    assert made.choose() == 2


def test_the_warm_up_tries_every_length_in_turn() -> None:
    made = governor(0.8)
    made.learn(True)
    assert [made.choose() for _ in range(9)] == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    made.learn(False)
    assert made.choose() == 3


def test_a_length_that_has_become_better_is_found_again() -> None:
    """Four tokens took long once, for one step; a probe, one step in so many, hears that they no longer do."""
    made = governor(0.9, longest=4)

    def take(length: int, seconds: float) -> None:
        made.observe(*step(length, length, seconds))
        made.chances = [0.9] * 4  # times alone are to change

    for length, seconds in ((2, 9.0), (3, 8.0), (4, 9.6)):
        take(length, seconds)
    assert made.best() == 3
    chosen = []
    for _ in range(6 * PROBE):
        chosen.append(length := made.choose())
        take(length, {3: 8.0}.get(length, 7.0 + length / 100))
    assert chosen[: PROBE - 1] == [3] * (PROBE - 1)
    assert chosen[PROBE - 1] == 4
    assert chosen[-1] == 4


def test_what_would_lose_much_is_not_tried() -> None:
    made = governor(0.9)
    made.observe(*step(3, 3, 1.0))
    for length in (2, 4):
        made.observe(*step(length, length, 50.0))
    assert {made.choose() for _ in range(3 * PROBE)} == {3}


def test_chances_are_conditional_on_all_drafts_before() -> None:
    """Of 3 drafts 1 was accepted: draft 1 right, draft 2 wrong, nothing is known about draft 3."""
    made = governor(0.5)
    made.observe(*step(3, 1, 7.0))
    assert made.chances[0] == pytest.approx(0.75)
    assert made.chances[1] == pytest.approx(0.25)
    assert made.chances[2] == 0.5


def test_rows_that_draft_less_say_nothing_of_what_they_have_not_drafted() -> None:
    """Of a batch whose rows drafted 3, 1 and none: the length is 3, draft 1 was right once and wrong once."""
    made = governor(0.5)
    made.observe([3, 1, 0], [2, 0, 0], 9.0)
    assert made.chances[:3] == pytest.approx([0.5, 0.75, 0.25])
    assert (made.taken[3], made.taken[1], made.taken[0]) == (9.0, 0.0, 0.0)


def test_the_averages_forget() -> None:
    named = [1, 2]
    made = Roofline(CycleCosts(0.0, 1.0, lambda width: 4.0, 0.0, 0.0, 2.0), 6, named=lambda: named)
    for _ in range(200):
        made.observe(*step(2, 2, 6.0))
    assert made.chances[0] > 0.99
    assert made.fresh[1:3] == pytest.approx([1.0, 2.0], abs=1e-6)
    assert made.fresh[6] == pytest.approx(2.0, abs=1e-6), "longer drafts name at least as many"
    named[:] = [0, 0]
    for _ in range(200):
        made.observe(*step(2, 0, 3.0))
    assert made.chances[0] < 0.01
    assert made.fresh[2] < 0.01
    assert made.taken[2] == pytest.approx(3.0, abs=0.1)
