import dataclasses

import pytest
import torch

from systems.api import Sampling
from systems.drafters.prompt_lookup import PromptLookup, continuation
from systems.runtime.sampling import Chooser
from tests.systems.handmade import COSTS, replay, trace
from tests.systems.tiny import SYSTEMS


def test_the_longest_match_wins_and_of_equals_the_latest() -> None:
    assert continuation([1, 2, 3, 9, 2, 3, 8, 1, 2, 3], 3, 2) == [9, 2], "1 2 3 is longer than 2 3"
    assert continuation([2, 3, 9, 2, 3, 8, 2, 3], 3, 2) == [8, 2], "the latest 2 3"
    assert continuation([5, 6, 7, 5], 3, 9) == [6, 7, 5]
    assert continuation([1, 2, 3], 3, 4) == []
    assert continuation([4], 3, 4) == []


def test_rows_propose_what_they_find_and_shorter_ones_are_padded() -> None:
    drafter = PromptLookup(3, 2, torch.device("cpu"))
    drafter.begin([[1, 2, 3, 1], [7, 8]], None)  # type: ignore[arg-type]
    drafter.observe(0, [2])
    drafter.observe(1, [9])
    draft = drafter.propose(Chooser([Sampling(), Sampling()], torch.device("cpu")), 3)
    assert draft.lengths == (3, 0)
    assert draft.tokens.tolist() == [[3, 1, 2], [0, 0, 0]]
    drafter.keep([1])
    drafter.observe(0, [7])
    draft = drafter.propose(Chooser([Sampling()], torch.device("cpu")), 3)
    assert draft.tokens.tolist() == [[8, 9, 7]]
    shorter = drafter.propose(Chooser([Sampling()], torch.device("cpu")), 1)
    assert shorter.tokens.tolist() == [[8]]
    assert drafter.propose(Chooser([Sampling()], torch.device("cpu")), 0).tokens.shape == (1, 0)


@pytest.mark.parametrize("agreed", [0, 1, 2])
def test_what_does_not_pay_is_not_said(agreed: int) -> None:
    """Two tokens always follow the same words; none, one or both of them are right. A step takes 2 s plainly, 2.5 with
    one drafted token and 3 with two: with none right any is a loss, with one right the second is."""
    config = dataclasses.replace(SYSTEMS["prompt_lookup"], drafter={"part": "prompt_lookup", "draft_length": 2})
    made = trace([[[[0]]] * 3] * 40, [agreed] * 40, drafter="prompt_lookup")
    costs = dataclasses.replace(COSTS, target_layer={1: 2.0, 3: 3.0})
    meter, system = replay(config, made, slots=2, costs=costs, residents=[0], warm=True)
    assert set(meter.drafted) == {agreed}
    assert system.describe()["draft_length_chosen"] == agreed
    always, _ = replay(dataclasses.replace(config, governor={"part": "none"}), made, slots=2, costs=costs, warm=True)
    assert set(always.drafted) == {2}
