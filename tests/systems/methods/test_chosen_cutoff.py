"""The cutoff: on steps small enough to work out by hand, and beside systems whose cutoff is fixed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from systems.api import Costs, HostCosts, LinkSpec, NullMeter, Request, SystemConfig
from systems.cache.clock import Pace, VirtualClock
from systems.cache.expert_cache import ExpertCache
from systems.cache.ledger import Ledger
from systems.cache.occupancy import Occupancy
from systems.cache.transport import EmulatedLink
from systems.methods.sp_moe.chosen_by_replay import CutoffSearch, Rerun
from systems.methods.sp_moe.warm_up import MOST_VISITS, Batch, Routed, Step, WarmUp
from systems.policies.listening import Listener
from systems.policies.orders import Shape
from systems.policies.residency import LayeredLru
from systems.replay.statistics import Statistics
from systems.replay.synthetic import synthesise
from systems.replay.system import ReplayedSystem
from systems.replay.trace import Header, Trace
from systems.runtime.site import Twin
from systems.store.slot_table import SlotTable
from tests.systems.tiny import SYSTEMS, requests

# By hand: three layers with a slot each. A draft layer takes 1 s, half a target layer 1 s, a transfer 1 s: a step
# computes for 9 s, and each miss adds a second.
LAYERS, EXPERTS = 3, 4
HAND = Costs({1: 2.0}, {1: 1.0}, 1.0, 0.0)


def twin(ordinals: Sequence[int] = range(LAYERS)) -> Twin:
    ledger, clock = Ledger(LAYERS, 1), VirtualClock()
    residency = LayeredLru(Shape(LAYERS, EXPERTS, LAYERS))
    occupancy = Occupancy(SlotTable(LAYERS, LAYERS * EXPERTS), residency, ledger)
    cache = ExpertCache(occupancy, EmulatedLink(LinkSpec(1.0, 0.0), 1, clock), ledger, EXPERTS)
    return Twin(cache, residency, Listener(), Pace(clock, HAND), list(ordinals))


def found(steps: Sequence[tuple[Sequence[int], Sequence[int]]], ordinals: Sequence[int] = range(LAYERS)) -> Any:
    """The search over one batch; steps need one expert per layer and name one."""
    batch = Batch(1)
    for needed, named in steps:
        step = Step(None)
        step.rows = step.unread = 1
        step.hints = [{layer: [expert] for layer, expert in enumerate(named) if layer in ordinals}]
        step.layers = [Routed([[expert]], False) for expert in needed]
        batch.steps.append(step)
    search = CutoffSearch(lambda: twin(ordinals), LAYERS, WarmUp(None))
    search.warm_up.batches.append(batch)
    return search


FILLING = ([3, 3, 3], [3, 3, 3])
"""Steps that begin with empty slots are not counted; this one fills them."""
ALTERNATING = [([expert] * 3, [expert] * 3) for expert in (0, 1, 0, 1)]


def test_where_every_hint_is_right_and_hidden_all_layers_are_prefetched() -> None:
    """Every expert has gone when it is needed again. What is named while drafting arrives before its layer."""
    search = found([FILLING, *ALTERNATING])
    assert search.choose() == 3
    assert search.times == pytest.approx({0: 12.0, 1: 11.0, 2: 10.0, 3: 9.0})
    assert search.describe() == {
        "cutoff_step_ms": {"0": 12000.0, "1": 11000.0, "2": 10000.0, "3": 9000.0},
        "cutoff_steps": 4,
    }


def test_where_prefetches_evict_what_is_needed_nothing_is_prefetched() -> None:
    """Every layer needs the expert that it holds, and is told another, which takes its slot: an expected miss rate
    that was measured with prefetching would not tell the two apart. A layer's wrong guess costs a second, since what
    it evicted has to come back."""
    search = found([FILLING, *(([3, 3, 3], [guess] * 3) for guess in (1, 2, 1))])
    assert search.choose() == 0
    assert search.times == pytest.approx({0: 9.0, 1: 10.0, 2: 11.0, 3: 12.0})


def test_where_only_the_first_layers_gain_the_rest_is_left_alone() -> None:
    """Two layers are told what they will miss, the third a wrong expert instead of the one that it holds."""
    steps = [([0, 0, 3], [0, 0, 1]), ([1, 1, 3], [1, 1, 2])]
    search = found([FILLING, *steps, *steps])
    assert search.choose() == 2
    assert search.times == pytest.approx({0: 11.0, 1: 10.0, 2: 9.0, 3: 10.0})


def test_a_draft_names_what_its_layers_stand_beside() -> None:
    """Its first layer stands beside none of the target's, the second beside the last: a cutoff below that is none."""
    search = found([FILLING, *ALTERNATING], [-1, 2])
    assert search.choose() == 3
    assert search.times == pytest.approx({0: 11.0, 1: 11.0, 2: 11.0, 3: 10.0})


def test_without_a_full_cache_all_steps_count() -> None:
    search = found([([0, 0, 0], [0, 0, 0])])
    assert search.choose() == 3
    assert search.times == pytest.approx({0: 12.0, 1: 11.0, 2: 10.0, 3: 9.0})


def test_nothing_seen_leaves_all_layers() -> None:
    assert found([]).choose() == LAYERS
    assert CutoffSearch(twin, LAYERS, WarmUp(None)).choose() == LAYERS


class Heard(Listener):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def begin(self, rows: int) -> None:
        self.calls.append(("begin", rows))

    def routed(self, layer: int, hidden: Any, chosen: Any) -> None:
        self.calls.append((layer, chosen))

    def keep(self, rows: Sequence[int]) -> None:
        self.calls.append(("keep", rows))


def told(warm_up: WarmUp, layers: int = 2) -> None:
    """A batch of two rows, one of which leaves after the first step; drafts of two tokens."""
    meter = warm_up.meter(requests(2, 9), frozenset())
    warm_up.begin(2)
    warm_up.reading(0, [1, 2])
    for layer in range(layers):
        warm_up.routed(layer, None, [[0], [1], [1]])
    warm_up.decoding()
    for rows, accepted in (([0, 1], [1, 2]), ([1], [2]), ([1], [0])):
        for experts in ([3], [4]):
            warm_up.hint(0, experts)
            warm_up.hint(1, [5])
        for layer in range(layers):
            warm_up.routed(layer, None, [[1], [3], [3]] * len(rows))
        warm_up.end_step()
        meter.step(rows, [2] * len(rows), accepted)
        if len(rows) == 2:
            warm_up.keep([1])
    warm_up.end()


def test_the_warm_up_keeps_what_steps_asked_for() -> None:
    """After a draft that was accepted to the end the next one has two tokens to read."""
    listener = Heard()
    warm_up = WarmUp(listener)
    warm_up.learn(True)
    told(warm_up)
    warm_up.learn(False)
    told(warm_up)
    (batch,) = warm_up.batches
    assert [(reading.first, reading.lengths) for reading in batch.readings] == [(0, [1, 2])]
    assert [routed.needed for routed in batch.readings[0].layers] == [{0: 1, 1: 2}] * 2
    first = batch.steps[0]
    assert first.hints == [{0: [3], 1: [5]}, {0: [4], 1: [5]}]
    assert [(routed.needed, routed.tokens) for routed in first.layers] == [({1: 2, 3: 4}, 6)] * 2
    assert [(step.rows, step.unread, step.kept) for step in batch.steps] == [(2, 2, None), (1, 2, [1]), (1, 2, None)]
    assert len(listener.calls) == 2 * (1 + 2 + 3 * 2 + 1), "the other listener hears all of it, always"
    assert first.layers[0].chosen == listener.calls[3][1]
    assert len(batch.steps[0].layers) == 2


def test_of_a_batch_so_many_visits_are_kept() -> None:
    warm_up = WarmUp(None)
    warm_up.learn(True)
    told(warm_up, layers=MOST_VISITS // 2)
    assert len(warm_up.batches[0].steps) == 2
    told(warm_up)
    assert len(warm_up.batches[1].steps) == 3
    assert not warm_up.batches[1].steps[0].layers[0].chosen, "nobody asks for it"


# Beside systems whose cutoff is fixed: eight layers of sixteen experts, as the reference pair has them.
SHAPE = Header(
    drafter="model", draft_length=3, layers=8, experts=16, top_k=2, decoder_layers=9,
    draft_ordinals=[-1, 0, 1, 2, 3, 4, 5, 6, 7], depth=2, record_bytes=1000, draft_bytes=2000, stop_tokens=[],
)  # fmt: skip
LIKE_THE_PAIR = Statistics(skew=0.5, request_skew=0.3, reuse=0.29, ahead=(0.72, 0.6), recall=0.82, acceptance=0.75)
LAYER = 0.5e-3
FINE, COARSE = 1.06 * LAYER, 15.7 * LAYER
"""Seconds per transfer, at the ratios of the hardware profiles."""
NEW = 48


def costs_of(transfer: float) -> Costs:
    target = {1: LAYER, 3: 1.47 * LAYER, 12: 2.5 * LAYER}
    return Costs(target, {1: 0.675 * LAYER, 6: 0.9 * LAYER}, transfer, 1e-5, HostCosts(2 * transfer))


def made(count: int, seed: int = 0) -> Trace:
    return synthesise(SHAPE, LIKE_THE_PAIR, count, prompt_tokens=16, new_tokens=NEW, seed=seed)


def batches_of(trace: Trace, size: int) -> list[list[Request]]:
    """Rows of a batch end one after the other."""
    all_of_them = [
        Request(name, record.tokens, NEW - 7 * (number % size))
        for number, (name, record) in enumerate(trace.records.items())
    ]
    return [all_of_them[start : start + size] for start in range(0, len(all_of_them), size)]


def built(
    trace: Trace, cutoff: int | str, transfer: float, slots: int, length: int = 1, **changes: Any
) -> ReplayedSystem:
    prefetch = {"part": "cutoff", "cutoff": cutoff, **changes.pop("prefetch", {})}
    drafter = {"part": "model", "draft_length": length}
    config: SystemConfig = replace(SYSTEMS["sp_moe"], drafter=drafter, prefetch=prefetch, **changes)
    link = LinkSpec(bandwidth=1000 / (transfer - 1e-5), latency=1e-5, virtual=True)
    return ReplayedSystem(config, trace, 2000 + slots * 1000, link, costs_of(transfer))


class Timed(NullMeter):
    """Notes how long steps take, and all of them but the prompts."""

    def __init__(self, system: ReplayedSystem, batch: Sequence[Request]) -> None:
        super().__init__([request.max_new_tokens for request in batch])
        self._clock, self.steps, self._began = system.cache.clock, list[float](), 0.0

    def commit(self, row: int, tokens: Sequence[int]) -> bool:
        self._began = self._clock.now()
        return super().commit(row, tokens)

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        self.steps.append(self._clock.now() - self._began)


def taken(system: ReplayedSystem, batches: Sequence[Sequence[Request]], learning: bool = False) -> list[float]:
    """Times of the steps (s); `learning` what a warm-up teaches."""
    times = []
    for batch in batches:
        meter = Timed(system, batch)
        if learning:
            system._parts.listener.learn(True)
        system.generate(batch, meter)
        if learning:
            system._parts.listener.learn(False)
        times += meter.steps
    return times


VARIANTS: dict[str, dict[str, Any]] = {
    "as it ships": {},
    "three tokens": {"length": 3},
    "no worker": {"prefetch": {"worker": False}},
    "batched": {"prefetch": {"batch_io": 4}},
    "shuffled": {"predictor": {"part": "draft_attention", "shuffled": True}},
    "host": {"placement": {"part": "cpu"}},
    "global": {"residency": {"part": "lru", "scope": "global"}},
    "static_hot": {"residency": {"part": "static_hot"}},
    "activation_aware": {"residency": {"part": "activation_aware"}},
    "lookahead": {"residency": {"part": "lookahead"}},
    "pinned": {"residency": {"part": "pinned", "per_layer": 2, "choice": "hot_global"}},
    "streaming": {"residency": {"part": "streaming"}},
    "all": {"residency": {"part": "all"}},
}


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_warm_up_takes_at_a_depth_what_a_system_with_that_cutoff_takes(variant: str, size: int) -> None:
    """Step by step. Where it has taught the policy whom to keep, the second time, with that."""
    changes = VARIANTS[variant]
    trace = made(2 * size)
    batches = batches_of(trace, size)
    auto = built(trace, "auto", FINE, 30, **changes)
    for batch in batches:
        auto.calibrate(batch)
    search = auto._parts.search
    assert search is not None
    for depth in (0, 3, 8):
        fixed = built(trace, depth, FINE, 30, **changes)
        again = variant in ("static_hot", "pinned")
        if again:
            for batch in batches:
                fixed.calibrate(batch)
        expected = taken(fixed, batches, learning=not again)
        played = Rerun(search._make_twin, depth).step_times(search.warm_up.batches)
        assert played == pytest.approx(expected, rel=1e-9), depth
        warm = Rerun(search._make_twin, 0).warm_steps(search.warm_up.batches)
        mean = sum(played[warm]) / len(played[warm])
        assert search.times[depth] == pytest.approx(mean, rel=1e-9), "each batch was played once, as it came"
    facts = auto.describe()
    assert len(search.times) == 9
    assert search.times[facts["cutoff"]] == min(search.times.values())
    assert facts.get("traces", len(trace.records)) == len(trace.records), "what is played teaches the system nothing"


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("transfer", "length", "slots"), [(FINE, 1, 23), (COARSE, 1, 23), (COARSE, 3, 60)])
def test_the_cutoff_is_within_two_percent_of_the_best(transfer: float, length: int, slots: int, seed: int) -> None:
    """Two prompts warm up, and others are measured. Where a transfer takes as long as sixteen layers, drafting one
    token hides one expert at most: the best cutoff is near one layer, and all layers are the worst choice."""
    trace = made(6, seed)
    *warm_up, first, second, third, fourth = batches_of(trace, 1)
    took = {}
    for cutoff in (*range(9), "auto"):
        system = built(trace, cutoff, transfer, slots, length)
        for batch in warm_up:
            system.calibrate(batch)
        took[cutoff] = sum(taken(system, [first, second, third, fourth]))
    chosen = system.describe()["cutoff"]
    best = min(range(9), key=lambda cutoff: took[cutoff])
    assert took["auto"] == pytest.approx(took[chosen], rel=0.01)
    assert took["auto"] < 1.02 * took[best]
    if transfer == COARSE:
        assert best <= 2
        assert chosen <= 2
        assert took[8] == max(took.values())
        assert took[8] > 1.08 * took[best]
    else:
        assert best >= 3
        assert took[0] == max(took.values())
