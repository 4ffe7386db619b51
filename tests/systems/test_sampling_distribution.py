"""Speculative sampling emits the target's distribution, whatever the draft's: checked by chi-square, seeds fixed.

What is expected comes from transformers' own logits processors, not from the code under test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from systems.api import LinkSpec, NullMeter, Request, Sampling, build_system
from systems.runtime.pair import Pair
from systems.runtime.sampling import Chooser
from tests.systems.tiny import COSTS, SYSTEMS

ACCEPTED, REJECTED = 1e-3, 1e-9
"""A right sampler fails one time in a thousand, were the seeds not fixed; a wrong one must fail beyond doubt."""
FEWEST = 5.0
"""Cells expected to hold fewer samples are counted as one, as usual for chi-square."""
VOCABULARY, SAMPLES, DRAFTED = 8, 1500, 2
SETTINGS = {
    "temperature 1": Sampling(1.0),
    "temperature 0.6": Sampling(0.6),
    "temperature 1.7": Sampling(1.7),
    "top-k": Sampling(1.0, top_k=3),
    "top-p": Sampling(1.0, top_p=0.7),
    "all three": Sampling(0.8, top_k=5, top_p=0.8),
}
Start = int
Pairs = Counter[tuple[int, ...]]


def chain(seed: int) -> Tensor:
    """Logits `(V, V)` of a model that looks at the last token only."""
    return 1.5 * torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(seed))


def wanted(logits: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities `(..., V)` according to transformers."""
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    steps: list[Any] = [TemperatureLogitsWarper(sampling.temperature)]
    steps += [TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    steps += [TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
    warped: Tensor = LogitsProcessorList(steps)(None, logits.reshape(-1, logits.shape[-1]).float())
    return warped.softmax(-1).reshape(logits.shape).double()


def p_value(seen: Mapping[tuple[int, ...], int], chances: Mapping[tuple[int, ...], float]) -> float:
    """Chance of deviating at least as much as `seen` does from `chances`; 0 if what cannot be was seen."""
    from scipy.stats import chisquare

    total = sum(seen.values())
    if any(chances.get(cell, 0.0) == 0.0 for cell in seen):
        return 0.0
    frequent = [cell for cell, chance in chances.items() if chance * total >= FEWEST]
    observed = [seen.get(cell, 0) for cell in frequent]
    expected = [chances[cell] * total for cell in frequent]
    if len(frequent) < sum(chance > 0 for chance in chances.values()):
        observed.append(total - sum(observed))
        expected.append(total - sum(expected))
    scale = total / sum(expected)  # float32 probabilities do not quite add up to 1
    return float(chisquare(observed, [scale * count for count in expected]).pvalue)


def sample_pairs(chooser: Chooser, target: Tensor, draft: Tensor, start: Start, sampled_drafts: bool) -> Pairs:
    """Generate two tokens per row by speculation and count them."""
    rows: list[list[int]] = [[] for _ in range(SAMPLES)]
    waiting = list(range(SAMPLES))
    while waiting:
        last = torch.tensor([rows[row][-1] if rows[row] else start for row in waiting])
        committed = speculate(chooser, target, draft, last, sampled_drafts)
        for row, tokens in zip(waiting, committed, strict=True):
            rows[row] += tokens
        short = [i for i, row in enumerate(waiting) if len(rows[row]) < 2]
        waiting = [waiting[i] for i in short]
        chooser.keep(short)
    return Counter(tuple(row[:2]) for row in rows)


def speculate(chooser: Chooser, target: Tensor, draft: Tensor, last: Tensor, sampled: bool) -> list[list[int]]:
    """One step: draft two tokens, sampled or the likeliest, and verify them."""
    tokens, proposals = [last], list[Tensor]()
    for _ in range(DRAFTED):
        logits = draft[tokens[-1]]
        choice = chooser.choose(logits) if sampled else None
        tokens.append(logits.argmax(-1) if choice is None else choice.tokens)
        if choice is not None and choice.probabilities is not None:
            proposals.append(choice.probabilities)
    drafts = torch.stack(tokens[1:], 1)
    verified = target[torch.stack(tokens, 1)]
    return chooser.verify(verified, drafts, torch.stack(proposals, 1) if sampled else None, [DRAFTED] * len(last))


def p_of_first_and_second(sampling: Sampling, sampled_drafts: bool = True) -> tuple[float, float]:
    """p-values of the first token, and of both together, which is about the second given the first."""
    target, draft, start = chain(1), chain(2), 0
    samplings = [Sampling(sampling.temperature, sampling.top_k, sampling.top_p, seed) for seed in range(SAMPLES)]
    both = sample_pairs(Chooser(samplings, torch.device("cpu")), target, draft, start, sampled_drafts)
    chances = wanted(target, sampling)
    first = Counter({(a,): 0 for a in range(VOCABULARY)})
    for (a, _), count in both.items():
        first[(a,)] += count
    one = {(a,): float(chances[start, a]) for a in range(VOCABULARY)}
    two = {(a, b): one[(a,)] * float(chances[a, b]) for a in range(VOCABULARY) for b in range(VOCABULARY)}
    return p_value(+first, one), p_value(both, two)


@pytest.mark.parametrize("name", SETTINGS)
def test_tokens_follow_the_target(name: str) -> None:
    assert min(p_of_first_and_second(SETTINGS[name])) > ACCEPTED


@pytest.mark.parametrize("name", ["temperature 1", "all three"])
def test_so_they_do_after_drafts_that_were_not_sampled(name: str) -> None:
    assert min(p_of_first_and_second(SETTINGS[name], sampled_drafts=False)) > ACCEPTED


Verify = Callable[[Chooser, int, Tensor, Tensor, Tensor | None], list[int]]


def forget_residual(original: Verify) -> Verify:
    """After a rejection draw from the target itself, not from what the draft left of it."""

    def verify(self: Chooser, row: int, logits: Tensor, drafts: Tensor, proposals: Tensor | None) -> list[int]:
        kept = original(self, row, logits, drafts, proposals)
        if len(kept) <= len(drafts):
            kept[-1] = int(self.choose_row(row, logits[len(kept) - 1]))  # type: ignore[attr-defined]
        return kept

    return verify


def accept_all(original: Verify) -> Verify:
    """Take every draft as it is."""

    def verify(self: Chooser, row: int, logits: Tensor, drafts: Tensor, proposals: Tensor | None) -> list[int]:
        return [*drafts.tolist(), original(self, row, logits[-1:], drafts[:0], proposals)[0]]

    return verify


def verify_untruncated(original: Verify) -> Verify:
    """Verify against the target at temperature 1, without top-k and top-p."""

    def verify(self: Chooser, row: int, logits: Tensor, drafts: Tensor, proposals: Tensor | None) -> list[int]:
        kept, self._samplings = self._samplings, [Sampling(1.0) for _ in self._samplings]
        try:
            return original(self, row, logits, drafts, proposals)
        finally:
            self._samplings = kept

    return verify


def shift_by_one(original: Verify) -> Verify:
    """Verify each draft against the target's distribution of the next position."""

    def verify(self: Chooser, row: int, logits: Tensor, drafts: Tensor, proposals: Tensor | None) -> list[int]:
        return original(self, row, logits.roll(-1, 0), drafts, proposals)

    return verify


def choose_row(self: Chooser, row: int, logits: Tensor) -> Tensor:
    return Chooser([Sampling(1.0, seed=int(torch.randint(1 << 30, ())))], logits.device).choose(logits[None]).tokens


@pytest.mark.parametrize("fault", [forget_residual, accept_all, verify_untruncated, shift_by_one])
def test_faults_are_rejected(fault: Callable[[Verify], Verify], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(Chooser, "choose_row", choose_row, raising=False)
    monkeypatch.setattr(Chooser, "_verify_row", fault(Chooser._verify_row))
    sampling = SETTINGS["all three" if fault is verify_untruncated else "temperature 1"]
    assert min(p_of_first_and_second(sampling)) < REJECTED


PROMPT, BATCH, BATCHES = (3, 1, 4, 1, 5), 50, 12


def three_tokens(pair: Pair, sampling: Sampling) -> Pairs:
    """Continue one prompt by three tokens, many times, with drafts of three; the first is not speculated."""
    system = build_system(SYSTEMS["sd_resident"], pair, pair.expert_bytes, LinkSpec(1e9, 1e-6), COSTS)
    seen: Pairs = Counter()
    try:
        for batch in range(BATCHES):
            seeds = range(batch * BATCH, (batch + 1) * BATCH)
            samplings = [Sampling(sampling.temperature, sampling.top_k, sampling.top_p, seed) for seed in seeds]
            meter = NullMeter([3] * BATCH)
            system.generate([Request(str(s.seed), PROMPT, 3, s) for s in samplings], meter)
            seen.update(tuple(tokens) for tokens in meter.tokens)
    finally:
        system.close()
    return seen


def chances_of_three(root: Path, sampling: Sampling) -> dict[tuple[int, ...], float]:
    """Chances of every continuation by three tokens, according to stock transformers."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(root / "target", experts_implementation="eager").eval()
    chances: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(3):
        texts = list(chances)
        with torch.inference_mode():
            logits = model(torch.tensor([[*PROMPT, *text] for text in texts])).logits[:, -1]
        following = wanted(logits, sampling).tolist()
        chances = {
            (*text, token): chances[text] * chance
            for text, row in zip(texts, following, strict=True)
            for token, chance in enumerate(row)
            if chance
        }
    return chances


@pytest.mark.nightly
@pytest.mark.parametrize("sampling", [Sampling(1.0, top_k=4), Sampling(0.7, top_p=0.6)], ids=["top-k", "top-p"])
def test_a_whole_system_follows_the_target(sampling: Sampling, root: Path, pair: Pair) -> None:
    seen, chances = three_tokens(pair, sampling), chances_of_three(root, sampling)
    assert sum(chances.values()) == pytest.approx(1.0, abs=1e-5)
    assert p_value(seen, chances) > ACCEPTED


@pytest.mark.nightly
def test_a_faulty_system_is_rejected(root: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chooser, "_verify_row", accept_all(Chooser._verify_row))
    sampling = Sampling(1.0, top_k=4)
    assert p_value(three_tokens(pair, sampling), chances_of_three(root, sampling)) < REJECTED
