"""Cascade's machine, step by step, on lengths whose utility is known."""

import dataclasses
from collections.abc import Callable

import pytest

from systems.api import BadInput
from systems.methods.cascade.governor import Cascade
from tests.systems.handmade import COSTS, replay, trace
from tests.systems.tiny import SYSTEMS


def lengths(steps: int, utility: Callable[[int], float], longest: int = 8, made: Cascade | None = None) -> list[int]:
    """What it drafts, where a step of length k takes as long as k accepted tokens at such a utility do."""
    made = made or Cascade(longest)
    chosen = []
    for _ in range(steps):
        chosen.append(length := made.choose())
        made.observe([length], [length], (1 + length) / utility(length))
    return chosen


def runs(chosen: list[int]) -> list[tuple[int, int]]:
    """Equal neighbours as (length, how many)."""
    found: list[tuple[int, int]] = []
    for length in chosen:
        count = found.pop()[1] if found and found[-1][0] == length else 0
        found.append((length, count + 1))
    return found


def test_it_times_plain_steps_climbs_while_a_length_gains_a_tenth_and_stays_with_the_best() -> None:
    """Utility 1.2, 1.4, 1.45: three gain less than a tenth over two and are still the best. The next test begins there,
    and finds four and two to be no better."""
    utility = {0: 1.0, 1: 1.2, 2: 1.4, 3: 1.45}
    chosen = runs(lengths(4 * 4 + 16 + 12 + 16, lambda k: utility.get(k, 1.0)))
    assert chosen == [(0, 4), (1, 4), (2, 4), (3, 4 + 16 + 4), (4, 4), (2, 4), (3, 16)]


def test_four_trials_are_all() -> None:
    chosen = runs(lengths(4 * 5 + 16, lambda k: 1.5**k))
    assert chosen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4 + 16)]


def test_where_nothing_pays_it_drafts_nothing_and_asks_ever_more_rarely() -> None:
    """Plain steps are timed while nothing is drafted, so that each test costs one trial of one token."""
    chosen = runs(lengths(4 + 3 * 4 + 16 + 32 + 64, lambda k: 1.0 if k == 0 else 0.8))
    assert chosen == [(0, 4), (1, 4), (0, 16), (1, 4), (0, 32), (1, 4), (0, 64)]


def test_a_utility_of_one_or_less_sends_a_test_down() -> None:
    """What has paid at three tokens no longer does: two and one are tried, and then none. When they pay again, the test
    begins with one token."""
    made = Cascade(3)
    lengths(32, lambda k: 1 + k, made=made)
    assert made.chosen == 3
    assert runs(lengths(12 + 16, lambda k: 1 - 0.15 * k, made=made)) == [(3, 4), (2, 4), (1, 4), (0, 16)]
    assert made.describe() == {"utilities": {"1": 0.85, "2": 0.7, "3": 0.55}, "draft_length_chosen": 0}
    assert runs(lengths(12, lambda k: 1 + k, made=made)) == [(1, 4), (2, 4), (3, 4)]


def test_plain_steps_are_timed_anew_after_a_hundred() -> None:
    chosen = runs(lengths(200, lambda k: 1.0 + k, longest=1))
    assert chosen[:3] == [(0, 4), (1, 4 + 16 + 4 + 16 + 4 + 16 + 4 + 16 + 4 + 16), (0, 4)]


@pytest.mark.parametrize(
    ("agreed", "drafted"), [(2, [(0, 4), (1, 4), (2, 4 + 16)]), (0, [(0, 4), (1, 4), (0, 16), (1, 4)])]
)
def test_replayed_it_finds_the_length_that_is_fastest(agreed: int, drafted: list[tuple[int, int]]) -> None:
    """Nothing is missed; a verification takes 2 s however long, a draft a quarter. With all drafts right two tokens
    bring 3 in 2.5 s, with none right every draft is a loss."""
    config = dataclasses.replace(
        SYSTEMS["cascade"], drafter={"part": "model", "draft_length": 2}, predictor={"part": "none"},
        prefetch={"part": "none"}, placement={"part": "none"},
    )  # fmt: skip
    made = trace([[[[0]]] * 3] * 120, [agreed] * 120)
    costs = dataclasses.replace(COSTS, target_layer={1: 2.0})
    meter, system = replay(config, made, slots=2, costs=costs, residents=[0])
    assert runs(meter.drafted[:28]) == drafted
    utilities = {"1": 1.778, "2": 2.4} if agreed else {"1": 0.889}
    assert system.describe()["utilities"] == utilities, "2 / (2.25 / 2), 3 / (2.5 / 2) and 1 / (2.25 / 2)"


def test_there_must_be_drafts_to_govern() -> None:
    config = dataclasses.replace(SYSTEMS["offload"], governor={"part": "cascade"})
    with pytest.raises(BadInput, match=r"governor\.part=cascade has no drafter"):
        replay(config, trace([[[[0]]]] * 2), slots=2)
    table = {"part": "model", "draft_length": 1, "by_positions": {0: 1}}
    config = dataclasses.replace(SYSTEMS["cascade"], drafter=table)
    with pytest.raises(BadInput, match=r"drafter\.by_positions chooses"):
        replay(config, trace([[[[0]]] * 2] * 2), slots=2)
