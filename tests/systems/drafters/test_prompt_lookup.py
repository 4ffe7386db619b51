import torch

from systems.api import Sampling
from systems.drafters.prompt_lookup import PromptLookup, continuation
from systems.runtime.sampling import Chooser


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
