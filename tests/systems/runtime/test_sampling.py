"""Speculative sampling emits the target's distribution; truncation keeps what it should."""

import torch

from systems.api import Sampling
from systems.runtime.sampling import Chooser, distribution


def test_truncation() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    assert torch.allclose(distribution(logits, Sampling(1.0, top_k=2)), torch.tensor([0.625, 0.375, 0, 0]))
    assert torch.allclose(distribution(logits, Sampling(1.0, top_p=0.8)), torch.tensor([0.625, 0.375, 0, 0]))
    assert torch.allclose(distribution(logits, Sampling(0.5))[0], torch.tensor(0.25 / 0.365))


def test_greedy_accepts_matches_and_corrects_the_first_miss() -> None:
    logits = torch.nn.functional.one_hot(torch.tensor([[3, 1, 2], [3, 1, 2]]), 5).float()
    drafts = torch.tensor([[3, 1], [3, 0]])
    chooser = Chooser([Sampling(), Sampling()], torch.device("cpu"))
    assert chooser.verify(logits, drafts, None, (2, 2)) == [[3, 1, 2], [3, 1]]


def test_padding_behind_a_short_draft_is_never_accepted() -> None:
    """A lucky pad would be an accepted draft that nobody drafted: the row gets the target's own token instead."""
    logits = torch.nn.functional.one_hot(torch.tensor([[3, 1, 2]]), 5).float()
    chooser = Chooser([Sampling()], torch.device("cpu"))
    assert chooser.verify(logits, torch.tensor([[3, 1]]), None, (1,)) == [[3, 1]]
    assert chooser.verify(logits, torch.tensor([[3, 1]]), None, (0,)) == [[3]]


def test_emitted_tokens_follow_the_target_whatever_the_draft_proposes() -> None:
    torch.manual_seed(0)
    target, proposal = torch.randn(5), torch.randn(5).softmax(-1)
    chooser = Chooser([Sampling(1.0, seed=3)], torch.device("cpu"))
    counts, trials = torch.zeros(5), 6000
    for _ in range(trials):
        draft = torch.multinomial(proposal, 1)
        committed = chooser.verify(target.expand(1, 2, 5), draft[None], proposal[None, None], (1,))
        counts[committed[0][0]] += 1
    expected = target.softmax(-1) * trials
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 18.5, "above the 99.9 % quantile for 4 degrees of freedom"


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(1))
    samplings = [Sampling(1.0, seed=i) for i in range(3)]
    together = Chooser(samplings, torch.device("cpu")).choose(logits).tokens
    alone = Chooser(samplings[2:], torch.device("cpu")).choose(logits[2:]).tokens
    assert together[2] == alone[0]
