"""Planted models: copies and kernels are real, and what is asked of them is what the trace says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from systems import api
from systems.cache.expert_cache import ExpertCache
from systems.replay import planted
from systems.replay.planted import PlantedModel
from systems.store.slots import Slots
from tests.systems.test_exactness import Checked
from tests.systems.tiny import SYSTEMS

DRAFT = api.DraftShape(recall=0.8, acceptance=0.7, bytes=9000, layers=3)
SHAPE = api.ModelShape(
    name="tiny", source="none", layers=4, moe_layers=3, experts=8, top_k=2, hidden=32, intermediate=16,
    other_bytes=40_000, statistics={"skew": 0.0, "reuse": 0.4, "ahead": [0.9, 0.8]}, draft=DRAFT, self_draft=DRAFT,
)  # fmt: skip
COSTS = api.Costs({1: 1e-4, 4: 2e-4}, {1: 5e-5}, 1e-4, 0.0)


@pytest.fixture(scope="module")
def model() -> Iterator[PlantedModel]:
    made = PlantedModel(SHAPE, "cpu", distinct=5)
    yield made
    made.close()


def decode(build: Any, traces: Any) -> tuple[Checked, Any]:
    system = build()
    (request,) = traces.requests
    meter = Checked([request.max_new_tokens])
    try:
        system.rehearse([request])
        system.generate([request], meter)
    finally:
        system.close()
    return meter, system


def test_how_long_a_device_has_waited_is_told_after_every_forward(
    model: PlantedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces: Any = api.imagine_traces(SHAPE, COSTS, 3, 1, 6, 12, seed=3)
    told = list[bool]()
    monkeypatch.setattr(ExpertCache, "tell_waits", lambda self: told.append(True))
    budget = 9 * SHAPE.expert_bytes
    meter, _ = decode(lambda: api.build_planted(SYSTEMS["offload"], traces, budget, COSTS, model), traces)
    assert len(told) == 1 + len(meter.drafted)


@pytest.mark.parametrize("name", ["offload", "sd_offload", "resident", "oracle", "sp_moe", "adapmoe"])
def test_what_moves_is_what_the_trace_needs(name: str, model: PlantedModel) -> None:
    """Where a layer needs no more than its slots hold and nothing is ordered ahead, exactly what the virtual clock
    says; else it depends on when what arrives."""
    traces: Any = api.imagine_traces(SHAPE, COSTS, 3, 1, 6, 12, seed=3)
    budget = 9 * SHAPE.expert_bytes + DRAFT.bytes * (SYSTEMS[name].drafter["part"] != "none")
    link = api.LinkSpec(SHAPE.expert_bytes / COSTS.transfer, 0.0, virtual=True)
    real, _ = decode(lambda: api.build_planted(SYSTEMS[name], traces, budget, COSTS, model), traces)
    virtual, _ = decode(lambda: api.build_replay(SYSTEMS[name], traces, budget, link, COSTS), traces)
    assert real.tokens == virtual.tokens
    assert real.accepted == virtual.accepted
    assert sum(needs.needed for report in real.reports for needs in report.layers) == sum(
        needs.needed for report in virtual.reports for needs in report.layers
    )
    if name in ("offload", "resident"):
        assert real.total("moved_bytes") == virtual.total("moved_bytes")
    assert (real.total("moved_bytes") > 0) == (name != "resident")


def test_experts_compute_from_the_slots_that_they_are_given(
    model: PlantedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many products as the trace has needs, each over the rows that chose the expert, from a slot that holds it."""
    rows: list[int] = []
    expert = PlantedModel.expert

    def seen(self: PlantedModel, slots: Slots, place: int, count: int) -> torch.Tensor:
        owner = slots.owner[place]
        assert torch.equal(slots.slab[place].view(torch.uint8), self.store.record(owner))
        rows.append(count)
        return expert(self, slots, place, count)

    monkeypatch.setattr(PlantedModel, "expert", seen)
    for number, record in enumerate(model.store.slab):
        record.view(planted.DTYPE).fill_(number)  # each another
    traces: Any = api.imagine_traces(SHAPE, COSTS, 3, 1, 6, 12, seed=3)
    budget = 9 * SHAPE.expert_bytes
    meter, _ = decode(lambda: api.build_planted(SYSTEMS["offload"], traces, budget, COSTS, model), traces)
    assert len(rows) == sum(needs.needed for report in meter.reports for needs in report.layers)
    tokens = 6 + 11  # of the prompt, and all decoded ones but the last
    assert sum(rows) == tokens * SHAPE.moe_layers * SHAPE.top_k


def test_costs_are_measured_on_what_is_planted(model: PlantedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[int] = []

    def once(actions: Any, device: str, seconds: float | None) -> list[float]:
        assert seconds == 0.25
        timed.append(len(actions))
        for action in actions:
            action()
        return [float(len(timed))] * len(actions)

    monkeypatch.setattr(planted, "medians", once)
    costs = model.costs([1, 2], 0.25)
    assert timed == [2, 1, 1]
    assert (costs.target_layer, costs.draft_layer, costs.transfer) == ({1: 1.0, 2: 1.0}, {1: 2.0}, 3.0)
