"""SpecMoE: drafting with pinned experts moves nothing, verification moves each needed expert once, and pins anew."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from systems.api import BadInput, DidNotFit, LinkSpec, Request, Traffic, build_system
from systems.methods.spec_moe.affinity import Affinity, shuffled
from systems.methods.spec_moe.drafter import nearest_experts
from systems.methods.spec_moe.repinning import PinnedExperts
from systems.policies.orders import DEMAND, Order, Shape
from systems.runtime.pair import Pair
from tests.systems.test_exactness import Checked, plain
from tests.systems.tiny import COSTS, SYSTEMS, requests

FAST = LinkSpec(bandwidth=1e8, latency=1e-6, virtual=True)
CHOICES = ["hot_temporal", "hot_global", "random"]


class Drafting(Checked):
    """Notes what moves while the draft runs, and what each step moves and needs."""

    def __init__(self, limits: Sequence[int], system: Any) -> None:
        super().__init__(limits)
        self._cache = system.cache
        self.drafting = 0
        self.per_step: list[Traffic] = []

    def span(self, name: Any) -> Any:
        if name == "draft":
            before = list(self._cache.slots.of)
            return _Unchanged(self, before)
        return super().span(name)

    def traffic(self, traffic: Traffic) -> None:
        super().traffic(traffic)
        if traffic.phase == "decode":
            self.per_step.append(traffic)


class _Unchanged:
    def __init__(self, meter: Drafting, before: dict[int, int]) -> None:
        self._meter, self._before = meter, before

    def __enter__(self) -> None:
        self._meter.drafting += 1

    def __exit__(self, *error: object) -> None:
        assert self._meter._cache.slots.of == self._before, "no slot changes hands while drafting"


def run(
    pair: Pair, batch: Sequence[Request], slots: int = 18, link: LinkSpec = FAST, **changes: Any
) -> tuple[Drafting, Any]:
    config = SYSTEMS["spec_moe"]
    config = dataclasses.replace(
        config,
        drafter={**config.drafter, **changes.pop("drafter", {})},
        residency={**config.residency, "per_layer": 3, **changes},
    )
    system = build_system(config, pair, slots * pair.record_bytes, link, COSTS)
    meter = Drafting([request.max_new_tokens for request in batch], system)
    try:
        system.calibrate(requests(2, 8, seed=50))
        system.generate(batch, meter)
    finally:
        system.close()
    return meter, system


@pytest.mark.parametrize("choice", CHOICES)
def test_drafts_move_nothing_and_needs_move_once(choice: str, pair: Pair, root: Path) -> None:
    from transformers import AutoModelForCausalLM

    batch = [dataclasses.replace(r, max_new_tokens=16 - 4 * i) for i, r in enumerate(requests(3, seed=4))]
    meter, _ = run(pair, batch, choice=choice)
    model = AutoModelForCausalLM.from_pretrained(root / "target", experts_implementation="eager").eval()
    assert meter.tokens == [plain(model, request) for request in batch]
    assert meter.drafting > 0
    assert set(meter.accepted) > {0}, "acceptance must be ragged for this test to mean something"
    for traffic in meter.per_step:
        missing = sum(layer.demand for layer in traffic.layers)
        assert traffic.moved_bytes == traffic.demand_bytes == missing * pair.record_bytes


def test_it_runs_beside_a_real_link(pair: Pair) -> None:
    paced, _ = run(pair, requests(2, 12, seed=3), link=LinkSpec(bandwidth=50e6, latency=2e-5))
    virtual, _ = run(pair, requests(2, 12, seed=3))
    assert paced.tokens == virtual.tokens
    assert paced.accepted == virtual.accepted


def test_all_experts_pinned_draft_as_the_target_does(pair: Pair) -> None:
    meter, _ = run(pair, requests(2, 16, seed=3), slots=32, per_layer=8)
    assert meter.accepted == meter.drafted, "nothing is replaced, so every draft is right"
    assert meter.drafted[0] == 3


def test_more_pinned_experts_draft_better(pair: Pair) -> None:
    batch = requests(4, 40, seed=9)
    found = {n: run(pair, batch, 30, per_layer=n)[0].accepted for n in (2, 6)}
    rates = {n: sum(accepted) / len(accepted) for n, accepted in found.items()}
    assert rates[6] > rates[2]


def test_each_round_pins_what_it_used_most(pair: Pair) -> None:
    policy = PinnedExperts(Shape(2, 8, 8), 2, "hot_temporal")
    policy.needed({8: 1, 9: 5, 12: 3})
    assert list(policy.pinned(1)) == [1, 4]
    assert list(policy.pinned(0)) == [0, 1], "another layer's round"
    policy.needed({13: 7})
    assert list(policy.pinned(1)) == [5, 1], "too few were used: who was pinned before stays"
    policy.needed({10: 2, 9: 2})
    assert set(policy.pinned(1)) == {1, 2}, "of equals the pinned one first"


def test_popular_in_the_warm_up_is_pinned_for_good() -> None:
    policy = PinnedExperts(Shape(1, 8, 4), 2, "hot_global")
    policy.learn(True)
    policy.needed({3: 5, 6: 4, 1: 1})
    policy.learn(False)
    policy.needed({1: 50})
    assert list(policy.pinned(0)) == [3, 6]
    assert policy.favourites() == [3, 6]


def test_who_is_pinned_never_gives_way() -> None:
    policy = PinnedExperts(Shape(1, 8, 4), 2, "hot_temporal")
    policy.needed({0: 3, 1: 3, 5: 1})
    for expert in (0, 1, 5):
        policy.admitted(expert)
    order = Order(DEMAND, 0, 0.0, 7, 0)
    assert policy.victim(order, range(9), ()) == 5
    policy.evicted(5)
    assert policy.victim(order, range(9), ()) is None


def test_stand_ins_are_the_nearest_that_the_token_does_not_use() -> None:
    nearest = [[[0, 2, 1, 3], [1, 2, 0, 3], [2, 1, 0, 3], [3, 2, 0, 1]]]
    affinity = Affinity(nearest, lambda _: {0, 2})
    assert affinity.stand_ins(0, (0, 2)) == (0, 2)
    assert affinity.stand_ins(0, (1, 3)) == (2, 0), "3 is nearest to 2, which stands in for 1 already"
    assert affinity.stand_ins(0, (1, 2)) == (0, 2), "2 was chosen itself"


def test_the_nearest_expert_is_the_one_with_the_nearest_weights(pair: Pair) -> None:
    tables = nearest_experts(pair.store)
    slab = pair.store.slab.view(pair.store.dtype).float()  # type: ignore[attr-defined]
    base = slab[8:16]
    expected = [(base[3] - other).norm().item() for other in base]
    assert tables[1][3] == sorted(range(8), key=expected.__getitem__)
    assert all(table[expert][0] == expert for table in tables for expert in range(8))
    assert shuffled(Shape(4, 8, 0)) != tables


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"per_layer": 1}, BadInput, r"residency\.per_layer=1 must be from 2 to 8"),
        ({"per_layer": 9}, BadInput, r"residency\.per_layer=9 must be from 2 to 8"),
        ({"per_layer": 5}, DidNotFit, r"5 pinned experts in each of 4 layers.*per_layer may be 4 at most"),
        ({"choice": "hottest"}, BadInput, "residency.choice"),
        ({"drafter": {"routing": "nearest"}}, BadInput, "drafter.routing"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], error: type[Exception], said: str, pair: Pair) -> None:
    with pytest.raises(error, match=said):
        run(pair, requests(1), **changes)


def test_the_draft_needs_experts_that_stay(pair: Pair) -> None:
    config = dataclasses.replace(SYSTEMS["spec_moe"], residency={"part": "lru"})
    with pytest.raises(BadInput, match=r"set residency\.part=pinned"):
        build_system(config, pair, 10**9, FAST, COSTS)
