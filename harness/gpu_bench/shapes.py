"""Systems over models in their real sizes with planted routing: copies and kernels are real, what is routed is drawn.

Traces are drawn with the statistics that `conf/shape` publishes for a model. The same traces are replayed on a virtual
clock with the costs that were measured here: how far that is off is said beside each system.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from harness import metrics
from harness.gpu_bench.micro import Keep
from harness.gpu_bench.stages import Setup
from harness.measure import one_by_one
from harness.measure.contender import undisturbed
from harness.measure.device_memory import give_back
from harness.metrics.base import Cell
from harness.records import provenance
from systems import api

SYSTEMS: Mapping[str, api.SystemConfig] = {
    "offload": api.SystemConfig("offload", "", residency={"part": "lru", "scope": "layer"}),
    "resident": api.SystemConfig("resident", "", residency={"part": "all"}),
    "sd_offload": api.SystemConfig(
        "sd_offload", "", drafter={"part": "model", "draft_length": 1}, residency={"part": "lru", "scope": "layer"}
    ),
    "sp_moe": api.SystemConfig(
        "sp_moe",
        "",
        drafter={"part": "model", "draft_length": 1},
        predictor={"part": "draft_attention"},
        prefetch={"part": "cutoff", "cutoff": "auto"},
        residency={"part": "lru", "scope": "layer"},
    ),
    "adapmoe": api.SystemConfig(
        "adapmoe",
        "",
        predictor={"part": "next_gate"},
        prefetch={"part": "next_layers", "depth": 2},
        residency={"part": "adaptive_layers"},
    ),
    "oracle": api.SystemConfig(
        "oracle",
        "",
        predictor={"part": "rehearsal"},
        prefetch={"part": "in_order", "batch_io": 4},
        residency={"part": "belady"},
    ),
}
"""As `conf/system` has them; one at a time, so that each has the device to itself."""
PLANS = {
    "deepseek_v2_lite": ("offload", "sp_moe", "sd_offload", "adapmoe", "resident", "oracle"),
    "mixtral_8x7b": ("offload", "sp_moe", "sd_offload", "oracle"),
}
"""The oracle last: it plans on the host, in the time that is measured."""
HOST_BYTES = 9_000_000_000
"""Host memory that experts may take, which has to be filled and page-locked first: a third of DeepSeek-V2-Lite's."""
BUDGET = 1 / 3
"""Share of the experts' bytes that slots may take; the draft has a place of its own."""
DRAFTS, WIDTHS = 1, [1, 2]
SIZES = {"deepseek_v2_lite": (3, 32, 24), "mixtral_8x7b": (2, 16, 8)}
"""Requests, tokens of a prompt and new tokens: what a stage has time for. A token of Mixtral moves some 12 GB."""


def measure(name: str, setup: Setup, keep: Keep) -> None:
    """Run the systems of a shape, the most telling first."""
    shape = _tiny() if setup.tiny else _shape(name)
    requests, prompt, new_tokens = (2, 4, 6) if setup.tiny else SIZES[name]
    model = api.plant_model(shape, setup.device, distinct=HOST_BYTES // shape.expert_bytes)
    try:
        costs = model.costs(WIDTHS, setup.calibration_seconds)
        keep("shape", shape.name)
        keep("planted", True)
        keep("costs", api.plain_costs(costs))
        traces = api.imagine_traces(shape, costs, DRAFTS, requests, prompt, new_tokens, seed=0)
        experts = shape.moe_layers * shape.experts * shape.expert_bytes
        for label in ("offload", "sp_moe") if setup.tiny else PLANS[name]:
            system = SYSTEMS[label]
            drafting = shape.draft.bytes if api.traits(system).drafts else 0
            budget = int(BUDGET * experts) + drafting
            build = partial(api.build_planted, system, traces, budget, costs, model)
            link = costs.link(shape.expert_bytes)
            predict = partial(api.build_replay, system, traces, budget, link, replace(costs, call=0.0))
            keep(label, _row(build, predict, traces, setup))
    finally:
        model.close()


def _row(
    build: Callable[[], api.System], predict: Callable[[], api.System], traces: api.Imagination, setup: Setup
) -> dict[str, Any]:
    """Measured and predicted numbers of one system, or why there are none."""
    try:
        measured, predicted = _run(build, traces, setup.device), _run(predict, traces, "cpu")
    except Exception as error:
        return {"error": provenance.scrub(f"{type(error).__name__}: {error}")}
    finally:
        give_back()
    wanted, got = predicted["tpot"]["value"], measured["tpot"]["value"]
    return {"metrics": measured, "predicted_tpot": wanted, "measured_over_predicted": got / wanted if wanted else None}


def _run(build: Callable[[], api.System], traces: api.Imagination, device: str) -> dict[str, Any]:
    """Warm up on the last request and measure the others."""
    system = build()
    *measured, warm_up = traces.requests
    found = one_by_one.generations(
        system, [warm_up], measured, synchronize=one_by_one.synchronizer(device), within=undisturbed
    )
    values = metrics.measure(Cell(found, fast_bytes=system.fast_bytes))
    return {name: value.row() for name, value in values.items()}


def _shape(name: str) -> api.ModelShape:
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(OmegaConf.load(provenance.ROOT / "conf" / "shape" / f"{name}.yaml"))
    for part in ("draft", "self_draft"):
        values[part] = api.DraftShape(**values[part])
    return api.ModelShape(**values)


def _tiny() -> api.ModelShape:
    draft = api.DraftShape(recall=0.9, acceptance=0.9, bytes=9000, layers=3)
    return api.ModelShape(
        name="tiny", source="none", layers=3, moe_layers=3, experts=8, top_k=2, hidden=64, intermediate=32,
        other_bytes=60_000, statistics={"skew": 0.0, "reuse": 0.4, "ahead": [0.9, 0.8]}, draft=draft, self_draft=draft,
    )  # fmt: skip
