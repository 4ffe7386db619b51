"""Every lossless system emits exactly the tokens of plain greedy decoding by stock transformers (fp32)."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from systems.api import LinkSpec, NullMeter, Request, SystemConfig, Traffic, build_system
from systems.contract.shape import int4_bytes
from systems.runtime.pair import Pair
from tests.systems.tiny import COSTS, LOSSLESS, SYSTEMS, requests

LINK = LinkSpec(bandwidth=50e6, latency=2e-5)


class Checked(NullMeter):
    """Collects traffic and steps, and asserts the identities of both."""

    def __init__(self, limits: Sequence[int]) -> None:
        super().__init__(limits)
        self.reports: list[Traffic] = []
        self.accepted: list[int] = []
        self.drafted: list[int] = []

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        assert all(a <= d for a, d in zip(accepted, drafted, strict=True))
        assert max(drafted) < max(self.left(row) for row in rows), "nobody wants what is drafted beyond the end"
        self.accepted += accepted
        self.drafted += drafted

    def traffic(self, traffic: Traffic) -> None:
        for needs in traffic.layers:
            hits, undrafted = needs.resident + needs.on_time, needs.needed - needs.foretold
            assert hits - undrafted <= needs.covered <= needs.foretold <= needs.needed
            assert needs.needed == needs.resident + needs.on_time + needs.late + needs.demand + needs.elsewhere
        self.reports.append(traffic)

    def total(self, name: str) -> int:
        return sum(getattr(report, name) for report in self.reports)


@pytest.fixture(scope="module")
def reference(root: Path, pair: Pair) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(root / "target", experts_implementation="eager").eval()


def plain(model: Any, request: Request) -> list[int]:
    prompt = torch.tensor([request.prompt])
    mask = torch.ones_like(prompt)
    output = model.generate(
        prompt, attention_mask=mask, max_new_tokens=request.max_new_tokens, do_sample=False, pad_token_id=0
    )
    return list(output[0, len(request.prompt) :].tolist())


def copies(config: SystemConfig, pair: Pair) -> int:
    """Bytes of whatever a system drafts with or pins."""
    if config.drafter["part"] == "quantised_self":
        return pair.store.shape.count * int4_bytes(32, 32, 32)
    if config.residency["part"] == "pinned":
        return int(config.residency["per_layer"]) * pair.num_layers * pair.record_bytes
    return pair.draft_bytes if config.drafter["part"] == "model" else 0


def run(
    config: SystemConfig,
    pair: Pair,
    batch: Sequence[Request],
    slots: int,
    trained: bool = False,
    link: LinkSpec | None = LINK,
) -> tuple[Checked, dict[str, Any]]:
    system = build_system(config, pair, copies(config, pair) + slots * pair.record_bytes, link, COSTS)
    meter = Checked([r.max_new_tokens for r in batch])
    try:
        if trained:
            system.calibrate(requests(2, 8, seed=77))
        system.rehearse(batch)
        system.generate(batch, meter)
        return meter, system.describe()
    finally:
        system.close()


@pytest.mark.parametrize("link", [LINK, None], ids=["emulated", "copied"])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", LOSSLESS)
def test_tokens_equal_plain_greedy_decoding(
    name: str, batch: int, link: LinkSpec | None, pair: Pair, reference: Any
) -> None:
    """On an emulated link experts are read where they lie, so that only real copies tell a slot that is read early."""
    group = [dataclasses.replace(r, max_new_tokens=20 - 3 * i) for i, r in enumerate(requests(batch, seed=batch))]
    meter, _ = run(SYSTEMS[name], pair, group, slots=6, trained=True, link=link)
    assert meter.tokens == [plain(reference, request) for request in group]
    moved = sum(meter.total(kind) for kind in ("demand_bytes", "useful_bytes", "late_bytes", "wasted_bytes"))
    assert meter.total("moved_bytes") == moved
    ahead = sum(meter.total(kind) for kind in ("useful_bytes", "late_bytes", "wasted_bytes"))
    assert ahead == meter.total("prefetched") * pair.record_bytes, "a demand that overtakes a hint is no prefetch"


@pytest.mark.parametrize("cutoff", [0, 1, 2, 3, 4, "auto"])
@pytest.mark.parametrize("worker", [True, False])
def test_every_cutoff_is_exact_and_prefetches(cutoff: int | str, worker: bool, pair: Pair, reference: Any) -> None:
    config = dataclasses.replace(
        SYSTEMS["sp_moe"],
        prefetch={"part": "cutoff", "cutoff": cutoff, "worker": worker, "batch_io": 2},
    )
    batch = requests(2, 24, seed=5)
    meter, described = run(config, pair, batch, slots=10, trained=True)
    assert meter.tokens == [plain(reference, request) for request in batch]
    assert set(meter.accepted) > {0}, "acceptance must be ragged for this test to mean something"
    chosen = described["cutoff"]
    assert (meter.total("prefetched") > 0) == (chosen != 0), "prefetch must act during multi-token verification"
    if cutoff == "auto":
        times = {int(depth): time for depth, time in described["cutoff_step_ms"].items()}
        assert set(times) == {0, 1, 2, 3, 4}
        assert times[chosen] == min(times.values())
    else:
        assert chosen == cutoff


@pytest.mark.parametrize("name", ["sd_offload", "prompt_lookup", "moe_speq", "spec_moe", "cached_self"])
def test_every_drafter_may_draft_nothing(name: str, pair: Pair, reference: Any) -> None:
    """Cascade decodes four steps plainly, tests one token, and goes on as it finds."""
    batch = requests(2, 16, seed=4)
    meter, _ = run(dataclasses.replace(SYSTEMS[name], governor={"part": "cascade"}), pair, batch, slots=8)
    assert meter.tokens == [plain(reference, request) for request in batch]
    assert set(meter.drafted[:8]) == {0}
    assert max(meter.drafted) > 0


def test_more_slots_move_fewer_bytes(pair: Pair) -> None:
    moved = [run(SYSTEMS["offload"], pair, requests(1, 24), slots)[0].total("moved_bytes") for slots in (2, 8, 31)]
    assert moved[0] > moved[1] > moved[2]


def test_resident_never_moves_a_byte(pair: Pair) -> None:
    assert run(SYSTEMS["resident"], pair, requests(2), slots=0)[0].total("moved_bytes") == 0


def test_prompts_are_streamed_past_the_residents(pair: Pair) -> None:
    """Prefill leaves all decode slots but the staging ones as they were."""
    system = build_system(SYSTEMS["offload"], pair, 12 * pair.record_bytes, LINK, COSTS)
    slots = system.cache.slots  # type: ignore[attr-defined]
    system.generate(requests(1, 8), NullMeter([8]))
    before = set(slots.residents)
    system.generate(requests(1, 1, seed=9), NullMeter([1]))
    system.close()
    assert len(before) == 12
    assert len(before - set(slots.residents)) <= 2
