"""A self-draft over what the cache holds: how choices are bent, and that drafting takes nothing from anybody."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from systems.api import BadInput, NullMeter, build_system
from systems.methods.cached_self.drafter import rerouted
from systems.runtime.pair import Pair
from tests.systems.test_mechanisms import FAST
from tests.systems.tiny import COSTS, SYSTEMS, requests


def routed(logits: list[float], k: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a softmax router with renormalised weights makes of one token."""
    values = torch.tensor([logits])
    shares, chosen = values.softmax(-1).topk(k)
    return values, chosen, shares / shares.sum(-1, keepdim=True)


def bent(logits: list[float], k: int, cached: list[int]) -> dict[int, Any]:
    """Experts that are computed, and their weights."""
    values, chosen, weights = routed(logits, k)
    here = torch.zeros(len(logits), dtype=torch.bool)
    here[cached] = True
    picked, shares = rerouted(values, chosen, weights, here)
    assert here[picked].all(), "what is not there must not be read"
    return {e: pytest.approx(s, abs=1e-6) for e, s in zip(picked[0].tolist(), shares[0].tolist(), strict=True) if s}


LOGITS = [5.0, 4.0, 3.0, 2.0, 1.5, 1.0, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, -8.0]


def shares(*experts: int) -> dict[int, float]:
    """Weights in proportion to the unbent probabilities."""
    whole = torch.tensor([LOGITS[expert] for expert in experts]).softmax(-1).tolist()
    return dict(zip(experts, whole, strict=True))


def test_all_that_is_chosen_is_there_and_nothing_changes() -> None:
    assert bent(LOGITS, 4, [0, 1, 2, 3, 9]) == shares(0, 1, 2, 3)


def test_up_to_a_quarter_missing_is_left_out_without_replacement() -> None:
    assert bent(LOGITS, 4, [0, 1, 2, 4, 5]) == shares(0, 1, 2)


def test_where_half_is_missing_those_that_are_there_rise_by_four() -> None:
    """0 and 1 are there, 2 and 3 are not: 4 and 5 rise to 5.5 and 5.0, above 3.0 and 2.0."""
    assert bent(LOGITS, 4, [0, 1, 4, 5, 6]) == shares(0, 1, 4, 5)


def test_between_a_quarter_and_a_half_they_rise_in_part() -> None:
    """Of three one is missing, a third: they rise by 4/3. 3 rises to 3.33, above 2's 3.0, and 4 to 2.83."""
    assert bent(LOGITS, 3, [0, 1, 3, 4]) == shares(0, 1, 3)
    assert bent(LOGITS, 3, [0, 1, 4]) == shares(0, 1), "2 is chosen still, and left out"


def test_the_first_choice_is_not_displaced_but_left_out() -> None:
    """1, 2 and 3 rise above 0. It keeps a place, from the last of the others, and is not there."""
    assert bent(LOGITS, 2, [1, 2, 3]) == shares(1)
    assert bent(LOGITS, 2, [1, 3]) == shares(1)


def test_nobody_comes_in_from_beyond_three_times_as_many() -> None:
    """The six first candidates are absent; those that are there stand behind them."""
    assert bent(LOGITS, 2, [6, 7, 8]) == {}
    assert bent(LOGITS, 2, [5, 6, 7]) == shares(5)


def test_weights_keep_the_sum_that_the_router_gave() -> None:
    values, chosen, weights = routed(LOGITS, 4)
    here = torch.zeros(len(LOGITS), dtype=torch.bool)
    here[[0, 1, 4]] = True
    _, left = rerouted(values, chosen, weights * 0.7, here)
    assert float(left.sum()) == pytest.approx(0.7)


def drafted(pair: Pair, slots: int, **changes: Any) -> tuple[Any, Any]:
    config = dataclasses.replace(SYSTEMS["cached_self"], governor={"part": "none"}, **changes)
    system = build_system(config, pair, slots * pair.record_bytes, FAST, COSTS)
    system.cache.install(range(slots))  # type: ignore[attr-defined]

    class Accepted(NullMeter):
        count = 0

        def step(self, rows: Any, drafted: Any, accepted: Any) -> None:
            self.count += sum(accepted)

    meter = Accepted([24])
    system.generate(requests(1, 24, seed=3), meter)
    facts = system.describe()
    system.close()
    return meter.count, facts


def test_with_everything_there_the_draft_is_the_target_and_costs_no_memory(pair: Pair) -> None:
    accepted, facts = drafted(pair, 32)
    assert accepted >= 17, "24 tokens in six steps of three drafts and one more"
    assert (facts["draft_bytes"], facts["slots"]) == (0, 32)
    fewer, _ = drafted(pair, 6)
    assert 0 < fewer < accepted


@pytest.mark.parametrize("residency", [{"part": "none"}, {"part": "int4", "group": 32}])
def test_without_slots_there_is_nothing_to_draft_with(residency: dict[str, Any], pair: Pair) -> None:
    plain = {"predictor": {"part": "none"}, "prefetch": {"part": "none"}, "placement": {"part": "none"}}
    with pytest.raises(BadInput, match="cached_self drafts with what slots hold"):
        drafted(pair, 8, residency=residency, **plain)


def test_what_is_lent_may_not_go_and_nobody_hears_of_it(pair: Pair) -> None:
    """Of the first layer's quota of two both are lent: a demand has to take another layer's slot. The order of use is
    as it was: when they have been given back, the first one goes."""
    system: Any = build_system(SYSTEMS["offload"], pair, 8 * pair.record_bytes, FAST, COSTS)
    cache = system.cache
    cache.install([0, 1, 8, 9, 16, 17, 24, 25])
    assert cache.lend(0) == [0, 1]
    list(cache.visit(0, {2: 1}))
    assert {0, 1, 2} <= set(cache.slots.residents)
    cache.unpin([0, 1])
    list(cache.visit(0, {3: 1}))
    assert {1, 2, 3} <= set(cache.slots.residents)
    assert 0 not in cache.slots.residents
    assert cache.take_traffic().needed == 2
    system.close()
