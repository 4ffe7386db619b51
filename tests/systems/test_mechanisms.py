"""Each mechanism does what it is there for, in a whole system: tests that a no-op would fail."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from systems.api import BadInput, HostCosts, LinkSpec, Request, SystemConfig, Traffic, build_system
from systems.runtime.pair import Pair
from tests.systems.test_exactness import Checked, copies, run
from tests.systems.tiny import COSTS, SYSTEMS, make_pair, requests

FAST = LinkSpec(bandwidth=1e8, latency=1e-6, virtual=True)


class Widths(Checked):
    """Notes how many prefetches each verification of more than one token issued."""

    def __init__(self, limits: Sequence[int]) -> None:
        super().__init__(limits)
        self.prefetched: list[int] = []

    def traffic(self, traffic: Traffic) -> None:
        super().traffic(traffic)
        if traffic.phase == "decode":
            self.prefetched.append(traffic.prefetched)


def generated(name: str, pair: Pair, slots: int, batch: Sequence[Request], **changes: Any) -> tuple[Widths, Any]:
    config = dataclasses.replace(_ungoverned(SYSTEMS[name]), **changes)
    system = build_system(config, pair, copies(config, pair) + slots * pair.record_bytes, FAST, COSTS)
    meter = Widths([r.max_new_tokens for r in batch])
    for warm_up in (requests(2, 16, seed=50), requests(1, 16, seed=51)):
        system.calibrate(warm_up)
    system.rehearse(batch)
    system.generate(batch, meter)
    facts = system.describe()
    system.close()
    return meter, facts


def _ungoverned(config: SystemConfig) -> SystemConfig:
    """Random weights draft badly: a governor would not draft at all."""
    return dataclasses.replace(config, governor={"part": "none"})


def needs(meter: Checked, name: str) -> int:
    decode = [report for report in meter.reports if report.phase == "decode"]
    return sum(getattr(layer, name) for report in decode for layer in report.layers)


def recall(meter: Checked) -> float:
    """Share of the needs that no resident met which a prefetch did."""
    hinted = needs(meter, "on_time") + needs(meter, "late")
    return hinted / (hinted + needs(meter, "demand"))


PREDICTORS = ["adapmoe", "sd_adapmoe", "moe_infinity", "sd_moe_infinity", "moe_speq", "sp_moe", "oracle", "sd_oracle"]


@pytest.mark.parametrize("name", PREDICTORS)
def test_every_predictor_prefetches_what_is_then_used(name: str, pair: Pair) -> None:
    meter, _ = generated(name, pair, 12, requests(2, 24, seed=3))
    assert sum(meter.prefetched) > 0
    assert meter.total("useful_bytes") + meter.total("late_bytes") > 0


@pytest.mark.parametrize("name", ["sd_adapmoe", "adapmoe"])
def test_adapmoe_prefetches_in_every_kind_of_forward(name: str, pair: Pair) -> None:
    """The released code does so for single tokens only: with a draft nearly every step has to order something."""
    meter, _ = generated(name, pair, 10, requests(1, 24, seed=3))
    acting = sum(count > 0 for count in meter.prefetched)
    assert acting > len(meter.prefetched) / 2


@pytest.mark.parametrize("name", ["adapmoe", "moe_speq", "sp_moe", "sd_adapmoe"])
def test_a_shuffled_predictor_is_worth_less(name: str, pair: Pair) -> None:
    """The control: as many hints at the same moments, for other experts. Random weights predict badly, but better."""
    batch = requests(2, 30, seed=3)
    predictor = {**SYSTEMS[name].predictor, "shuffled": True}
    honest, _ = generated(name, pair, 12, batch)
    control, _ = generated(name, pair, 12, batch, predictor=predictor)
    assert control.tokens == honest.tokens
    assert recall(control) < recall(honest)


def test_the_oracle_moves_fewest_bytes_and_nothing_in_vain(pair: Pair) -> None:
    batch = requests(1, 30, seed=3)
    moved = {
        name: generated(name, pair, 12, batch)[0].total("moved_bytes")
        for name in ("oracle", "offload", "moe_infinity", "adapmoe", "no_cache")
    }
    assert min(moved, key=lambda name: moved[name]) == "oracle"
    assert moved["offload"] < moved["no_cache"]
    oracle, facts = generated("oracle", pair, 12, batch)
    decode = sum(report.moved_bytes for report in oracle.reports if report.phase == "decode")
    assert facts["fewest_bytes"] <= decode < 1.2 * facts["fewest_bytes"]
    assert sum(facts["schedules"].values()) == 1
    assert oracle.total("wasted_bytes") == 0


def test_the_oracle_starts_with_what_it_held_before_its_rehearsal_or_with_favourites(pair: Pair) -> None:
    config = SYSTEMS["oracle"]
    system = build_system(config, pair, 12 * pair.record_bytes, FAST, COSTS)
    system.calibrate(requests(2, 16, seed=50))
    favourites = set(system.cache.slots.residents)
    for batch in (requests(1, 16, seed=60), requests(1, 16, seed=61)):
        held = set(system.cache.slots.residents)
        system.rehearse(batch)
        assert set(system.cache.slots.residents) in (held, favourites)
        system.generate(batch, Widths([16]))
        assert set(system.cache.slots.residents) not in (held, favourites), "or nothing had to be put back"
    system.close()


def test_planning_takes_none_of_the_clocks_time(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedules are chosen, needs met and hints given while the clock stands."""
    system = build_system(SYSTEMS["oracle"], pair, 12 * pair.record_bytes, FAST, COSTS)
    standing, seen = [False], set[str]()

    @contextmanager
    def stopped() -> Iterator[None]:
        standing[0] = True
        yield
        standing[0] = False

    def watch(owner: Any, name: str) -> None:
        act = getattr(owner, name)

        def watched(*args: Any) -> Any:
            assert standing[0], name
            seen.add(name)
            return act(*args)

        monkeypatch.setattr(owner, name, watched)

    batch = requests(1, 16, seed=60)
    system.rehearse(batch)
    monkeypatch.setattr(system.cache.clock, "stopped", stopped)
    foresight = system._parts.foresight
    watch(foresight._director, "choose")
    watch(foresight._future, "advance")
    watch(foresight._hinting, "plan")
    system.generate(batch, Widths([16]))
    system.close()
    assert seen == {"choose", "advance", "plan"}


def test_without_a_cache_every_need_is_a_demand(pair: Pair) -> None:
    meter, _ = generated("no_cache", pair, 12, requests(1, 12, seed=3))
    assert needs(meter, "demand") == needs(meter, "needed") > 0


def test_slots_follow_the_profile(pair: Pair) -> None:
    _, facts = generated("adapmoe", pair, 13, requests(1, 8))
    quotas = facts["slots_by_layer"]
    assert sum(quotas) <= 13
    assert min(quotas) >= 1
    assert quotas != [4, 3, 3, 3], "the even division that it starts from"


def test_missing_experts_are_computed_where_they_lie(pair: Pair) -> None:
    meter, _ = generated("cpu_compute", pair, 8, requests(1, 16, seed=3))
    assert needs(meter, "elsewhere") > 0
    assert needs(meter, "demand") == 0, "computing there takes a fifth of a fetch"
    assert needs(meter, "resident") > 0, "popular experts were loaded after the warm-up"


def test_the_most_popular_experts_stay(pair: Pair) -> None:
    batch = requests(2, 30, seed=3)
    hot, _ = generated("static_hot", pair, 12, batch)
    system = build_system(SYSTEMS["static_hot"], pair, 12 * pair.record_bytes, FAST, COSTS)
    system.calibrate(requests(3, 16, seed=50))
    loaded = set(system.cache.slots.residents)  # type: ignore[attr-defined]
    system.generate(batch, Checked([30, 30]))
    assert len(loaded - set(system.cache.slots.residents)) <= 2, "two pass through the staging of prompts"  # type: ignore[attr-defined]
    system.close()
    assert needs(hot, "resident") > 0


def test_the_host_computes_beside_the_device(pair: Pair) -> None:
    """Two of a layer's experts are there and take the device 0.25 ms each; the host computes a third meanwhile, from
    the moment the router has spoken. The layer ends with the later of the two."""
    for host, ends in ((2e-4, 5e-4), (9e-4, 9e-4)):
        costs = dataclasses.replace(COSTS, transfer=1.0, host=HostCosts(host))
        slow = LinkSpec(bandwidth=pair.record_bytes / 1.0, latency=0.0, virtual=True)
        system = build_system(SYSTEMS["cpu_compute"], pair, 8 * pair.record_bytes, slow, costs)
        cache: Any = system.cache  # type: ignore[attr-defined]
        cache.install([0, 1])
        start, order = cache.clock.now(), []
        for expert, place in cache.visit(0, {0: 1, 1: 1, 2: 1}):
            order.append(expert)
            assert torch.equal(cache.slots.matrices[place][0].flatten(), gate_up(pair, expert)), "where it lies"
            cache.clock.spend(2.5e-4)
        assert order == [0, 1, 2]
        assert cache.clock.now() - start == pytest.approx(ends)
        system.close()


def gate_up(pair: Pair, expert: int) -> torch.Tensor:
    record: torch.Tensor = pair.store.slab[expert].view(pair.store.dtype)  # type: ignore[attr-defined]
    return pair.store.shape.split(record)[0].flatten()


def test_only_host_memory_can_compute(tmp_path: Any) -> None:
    packed = make_pair(tmp_path, store="checkpoint")
    with pytest.raises(BadInput, match=r"model\.store=ram"):
        build_system(SYSTEMS["cpu_compute"], packed, 10**9, None, COSTS)


def test_the_governor_drafts_by_its_roofline(pair: Pair) -> None:
    batch = requests(2, 24, seed=3)
    _, facts = generated("moe_speq", pair, 12, batch, governor=SYSTEMS["moe_speq"].governor)
    assert 0 <= facts["draft_length_chosen"] <= 3
    assert set(facts["theta_predicted"]) == {"0", "1", "2", "3"}
    _, facts = generated("moe_speq", pair, 12, batch)
    assert "theta_predicted" not in facts


def test_adaptive_gating_needs_fewer_experts(pair: Pair) -> None:
    batch = requests(1, 24, seed=3)
    whole, _ = generated("adapmoe", pair, 12, batch)
    gated, facts = generated("adapmoe_gated", pair, 12, batch, gating={"part": "adaptive", "tolerance": 0.5})
    assert needs(gated, "needed") < needs(whole, "needed")
    assert all(threshold > 0 for threshold in facts["gating_thresholds"])
    strict, _ = generated("adapmoe_gated", pair, 12, batch, gating={"part": "adaptive", "tolerance": 1e-12})
    assert strict.tokens == whole.tokens


def test_a_cap_on_slots_is_kept(pair: Pair) -> None:
    capped = dataclasses.replace(SYSTEMS["offload"], residency={"part": "lru", "slots": 5})
    assert run(capped, pair, requests(1, 4), slots=9)[1]["slots"] == 5
