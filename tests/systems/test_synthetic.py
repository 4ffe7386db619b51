"""Generated traces show the statistics asked for, and the controls of any simulator hold on them."""

import pytest

from systems.api import BadInput, Costs, LinkSpec, NullMeter, Request, SystemConfig, Traffic
from systems.replay.synthetic import Statistics, measured, synthesise
from systems.replay.system import ReplayedSystem
from systems.replay.trace import Header, Trace
from tests.systems.tiny import SYSTEMS

SHAPE = Header(
    drafter="model", draft_length=3, layers=4, experts=16, top_k=2, decoder_layers=4, draft_ordinals=[0, 1, 2, 3],
    depth=2, record_bytes=1000, draft_bytes=2000, stop_tokens=[],
)  # fmt: skip
LINK = LinkSpec(bandwidth=1e6, latency=0.0, remote_token=1e-4, virtual=True)
COSTS = Costs({1: 1e-3, 4: 2e-3}, {1: 2e-4}, 1e-3, 0.0)


class Sums(NullMeter):
    def __init__(self, limits: list[int]) -> None:
        super().__init__(limits)
        self.needed = self.resident = self.on_time = self.demand = self.late = self.moved = 0

    def traffic(self, traffic: Traffic) -> None:
        if traffic.phase == "decode":
            self.moved += traffic.moved_bytes
            for name in ("needed", "resident", "on_time", "demand", "late"):
                setattr(self, name, getattr(self, name) + sum(getattr(layer, name) for layer in traffic.layers))


def made(statistics: Statistics, new_tokens: int = 300, requests: int = 2) -> Trace:
    return synthesise(SHAPE, statistics, requests, prompt_tokens=8, new_tokens=new_tokens)


def replayed(
    config: SystemConfig, trace: Trace, slots: int, new_tokens: int = 300, link: LinkSpec = LINK
) -> tuple[Sums, float]:
    drafting = SHAPE.draft_bytes if config.drafter["part"] != "none" else 0
    system = ReplayedSystem(config, trace, drafting + slots * SHAPE.record_bytes, link, COSTS)
    warm, request = (
        Request(name, tuple(trace.records[name].prompt.tolist()), new_tokens) for name in ("synthetic/1", "synthetic/0")
    )
    system.calibrate([warm])
    system.rehearse([request])
    meter = Sums([new_tokens])
    start = system.now_ns()
    system.generate([request], meter)
    return meter, (system.now_ns() - start) / 1e9


@pytest.mark.parametrize(
    "asked",
    [
        Statistics(skew=0.0, reuse=0.4, ahead=(0.8, 0.6), recall=0.75, acceptance=0.6),
        Statistics(skew=0.8, reuse=0.5, ahead=(1.0, 0.0), recall=1.0, acceptance=0.9),
        Statistics(),
    ],
)
def test_a_trace_shows_what_was_asked_for(asked: Statistics) -> None:
    shown = measured(made(asked, new_tokens=1000))
    assert shown["recall"] == pytest.approx(asked.recall, abs=0.02)
    assert (shown["ahead_1"], shown["ahead_2"]) == pytest.approx(asked.ahead, abs=0.02)
    assert shown["acceptance"] == pytest.approx(asked.acceptance, abs=0.03)
    assert shown["reuse"] == pytest.approx(2 / 16 if asked.reuse is None else asked.reuse, abs=0.03)


def test_popularity_is_skewed_as_asked() -> None:
    shares = []
    for skew in (0.0, 1.0):
        counts: dict[int, int] = {}
        for expert in made(Statistics(skew=skew), 600).records["synthetic/0"].routed[:, 0, 0].ravel().tolist():
            counts[expert] = counts.get(expert, 0) + 1
        shares.append(max(counts.values()) / sum(counts.values()))
    assert shares[0] == pytest.approx(1 / 16, abs=0.03)
    assert shares[1] > 3 / 16


@pytest.mark.parametrize("slots", [16, 32])
def test_a_uniform_trace_hits_as_often_as_slots_hold_experts(slots: int) -> None:
    meter, _ = replayed(SYSTEMS["offload"], made(Statistics()), slots)
    assert meter.resident / meter.needed == pytest.approx(slots / 64, abs=0.04)


def test_with_all_slots_only_first_uses_miss() -> None:
    meter, _ = replayed(SYSTEMS["offload"], made(Statistics()), 64)
    assert meter.demand == 0, "the warm-up has brought all in"


def test_a_link_at_no_cost_is_as_fast_as_having_everything() -> None:
    trace = made(Statistics(reuse=0.3, recall=0.5, acceptance=0.5))
    free = LinkSpec(bandwidth=1e15, latency=0.0, virtual=True)
    _, costless = replayed(SYSTEMS["sd_offload"], trace, 12, link=free)
    _, resident = replayed(SYSTEMS["sd_resident"], trace, 12)
    assert costless == pytest.approx(resident, rel=1e-6)


def test_a_perfect_gate_is_never_wrong_and_chance_is_chance() -> None:
    perfect, _ = replayed(SYSTEMS["adapmoe"], made(Statistics(ahead=(1.0, 1.0))), 12)
    useless, _ = replayed(SYSTEMS["adapmoe"], made(Statistics(ahead=(0.0, 0.0))), 12)
    first_layer = perfect.needed / SHAPE.layers
    assert perfect.demand <= first_layer, "only the first layer has no gate before it"
    assert useless.demand > 2 * perfect.demand


@pytest.mark.parametrize("name", ["offload", "static_hot", "adapmoe", "moe_infinity"])
def test_nobody_beats_the_oracle(name: str) -> None:
    trace = made(Statistics(skew=0.6, reuse=0.4, ahead=(0.8, 0.6)))
    oracle, best = replayed(SYSTEMS["oracle"], trace, 16)
    meter, took = replayed(SYSTEMS[name], trace, 16)
    assert meter.moved >= oracle.moved
    assert took >= best


def test_impossible_statistics_are_refused() -> None:
    with pytest.raises(BadInput, match=r"statistics\.recall is 1\.2"):
        Statistics(recall=1.2)
    with pytest.raises(BadInput, match="below the"):
        made(Statistics(skew=2.0, reuse=0.05))
