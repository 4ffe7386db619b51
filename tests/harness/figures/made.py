"""Records written by hand, as every command that feeds figures would publish them: small, and the same every time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.figures.moesd_activation import MOESD
from harness.figures.prediction import ALIGNMENT, CURVES
from harness.figures.routing_fidelity import PARTS as FIDELITY
from harness.measure.timeline_meter import TimelineMeter
from harness.predict.who_wins import SCHEMA as WHO_WINS
from harness.records import summary_file
from harness.records.files import write_text
from harness.studies.timeline import SCHEMA as TIMELINE
from harness.studies.timeline import events
from systems.api import Transfer

Values = dict[str, float | None]
ALL = (
    "no_cache", "offload", "static_hot", "cpu_compute", "moe_infinity", "adapmoe", "prompt_lookup", "sd_offload",
    "sd_adapmoe", "sp_moe", "moe_speq", "oracle", "sd_oracle", "resident",
)  # fmt: skip


def row(system: str, hardware: str = "fine_grained", scale: float = 1.0, **facts: Any) -> dict[str, Any]:
    """A row whose numbers follow from the system's name: no two are alike, and none changes between runs."""
    size = 1 + sum(map(ord, system)) % 7
    tpot = 0.005 * size * scale
    values: Values = {
        "tpot": tpot, "bytes_per_token": 2e6 * size, "hit_rate": min(1.0, 0.1 * size * scale), "stall_share": 0.2,
        "acceptance_rate": 0.7, "acceptance_length": 1.6,
        "speedup_over_sd_offload": 1 / size, "speedup_over_sp_moe": size / 4,
        "breakdown_draft": 0.2 * tpot, "breakdown_verify": 0.5 * tpot, "breakdown_transfer": 0.2 * tpot,
        "throughput": 100 * size, "target_efficiency": 0.1 * size,
        "breakdown_host": 0.09 * tpot, "breakdown_residual": 0.01 * tpot, "residual": 0.01,
    }  # fmt: skip
    values |= {f"acceptance_conditional_{place}": 0.8 - 0.05 * place for place in range(1, 9)}
    values |= {f"theta_{length}": 100.0 / length for length in range(1, 9)}
    metrics = {
        id: {"value": value, "unit": "-", "low": value * 0.9, "high": value * 1.1, "n": 8, "definition": f"{id}@1"}
        for id, value in values.items()
        if value is not None
    }
    return {
        "system": system, "model": "toy", "dataset": "humaneval", "hardware": hardware, "emulated": True,
        "replayed": False, "batch": 1, "budget_bytes": 2**25, "lossless": True, "description": {"slots": 12},
        "status": "ok", "metrics": metrics, **facts,
    }  # fmt: skip


def publish(folder: Path, rows: Sequence[dict[str, Any]], key: str = "0123456789ab") -> None:
    """Write what `harness.bench.run.publish` would."""
    folder.mkdir(parents=True, exist_ok=True)
    summary_file.write(folder, key, rows)
    (folder / "provenance.json").write_text(json.dumps({"key": key, "commit": "c0ffee" * 6, "dirty": False}))


def everything(results: Path) -> None:
    """Publish what every figure needs."""
    publish(results / "bench-all", [row(name, hardware) for hardware in ("fine_grained", "coarse") for name in ALL])
    publish(results / "ablation", [row(name) for name in ("sd_offload", "sp_moe@0", "sp_moe")])
    cutoffs = [row(f"sp_moe@{cutoff}", description={"cutoff": cutoff}) for cutoff in range(9)]
    times = {str(depth): 20.0 + abs(depth - 5) for depth in range(9)}
    auto = row("sp_moe@auto", description={"cutoff": 5, "cutoff_auto": True, "cutoff_step_ms": times})
    publish(results / "cutoff", [row("sd_offload"), *cutoffs, auto])
    budgets = [f"{tenths / 10:.1f}" for tenths in range(1, 11)]
    _sweep(
        results / "budget", budgets, lambda point: [row(name, scale=1 / float(point)) for name in ("offload", "sp_moe")]
    )
    _sweep(results / "draft_length", map(str, range(1, 9)), _drafting)
    _sweep(
        results / "hit_rate", ("22272KiB", "37632KiB", "62208KiB"),
        lambda _: [row(name) for name in ("lru", "lru_scaled", "prefetch_sooner", "prefetch_later", "speculative")],
    )  # fmt: skip
    _sweep(
        results / "datasets", ("exercises", "humaneval"),
        lambda point: [row(name, dataset=point) for name in ("offload", "sp_moe", "moe_speq")],
    )  # fmt: skip
    (results / "alignment").mkdir()
    (results / ALIGNMENT.path).write_text(json.dumps(alignment()))
    (results / "timeline").mkdir()
    write_text(results / "timeline/timeline.json.gz", json.dumps(timeline()))
    publish(
        results / "bench-batch",
        [row(name, scale=batch, batch=batch) for name in ("no_cache", "spec_moe") for batch in (1, 8, 64)],
    )
    (results / "who-wins").mkdir()
    (results / "who-wins" / "who-wins.json").write_text(json.dumps(who_wins()))
    (results / "moesd").mkdir()
    (results / "moesd" / "moesd.json").write_text(json.dumps(moesd()))


def who_wins() -> dict[str, Any]:
    """What `python -m harness who_wins` writes: two systems, and a budget for which one is too large."""
    ranked = [{"system": name, "draft_length": k, "tpot_ms": 5.0 + k} for k, name in enumerate(("arbiter", "sp_moe"))]
    rows = [
        {
            "panel": "toy",
            "budget": budget,
            "ratio": ratio,
            "systems": ranked[:fitting],
            "bound": ranked[0] | {"tpot_ms": 4.0},
        }
        for fitting, budget in enumerate((0.1, 0.2, 0.5))
        for ratio in (1.0, 16.0)
    ]
    return {"schema": WHO_WINS, "replayed": True, "panels": {"toy": "Toy on a Box"}, "rows": rows}


def moesd() -> dict[str, Any]:
    """What `python -m harness moesd` writes."""
    ratios = ("speedup", "predicted", "target_efficiency", "predicted_target_efficiency")
    points = [
        {"top_k": top_k, "draft_length": length, "batch": batch, "fitted": batch == 4, "tokens_per_cycle": 2.0}
        | {name: (1.0 + place) / (top_k + length + batch) for place, name in enumerate(ratios)}
        for top_k in (1, 2)
        for length in (2, 4)
        for batch in (1, 4, 16)
    ]
    kinds = ("uniform", "skewed", "scattered", "verified")
    counted = [
        {"tokens": count} | {name: min(16.0, count * (2 - place / 4)) for place, name in enumerate(kinds)}
        for count in (1, 4, 16)
    ]
    return {
        "schema": MOESD.schema, "model": "toy", "experts": 16, "top_k": 2, "points": points, "activation": counted,
        "dense": [point for point in points if point["top_k"] == 2],
        "mean_absolute_error": {"fitted": 0.04, "held_out": 0.06},
    }  # fmt: skip


def alignment() -> dict[str, Any]:
    """What `models.alignment` writes."""
    names = ("cosine", *CURVES, "next_layer_same_set", *(f"int4_{name}" for name in FIDELITY))
    layers = {name: [None, 0.6, 0.7] if name.startswith("next") else [0.9, 0.8, 0.7] for name in names}
    means = dict.fromkeys(names, 0.75)
    return {"schema": ALIGNMENT.schema, "prompts": 3, "top_k": 2, **means, "by_layer": layers}


def timeline() -> dict[str, Any]:
    """What `harness.studies.timeline` writes, of one system whose clock ticks a millisecond a look."""
    ticks = iter(range(0, 10**12, 10**6))
    meter = TimelineMeter(4, frozenset(), lambda: next(ticks))
    meter.commit(0, [1])
    for _ in range(3):
        with meter.span("draft"):
            pass
        with meter.span("verify"), meter.span("transfer"):
            pass
        meter.step([0], [2], [1])
    found = events(1, "sp_moe", meter, [Transfer(0, 3, True, 0.015, 0.017), Transfer(1, 5, False, 0.017, 0.019)])
    return {"schema": TIMELINE, "key": "0123456789ab", "commits": ["c0ffee"], "emulated": True, "replayed": False,
            "hardware": "fine_grained", "traceEvents": found}  # fmt: skip


def _drafting(point: str) -> list[dict[str, Any]]:
    theta = {"theta_predicted": {str(k): 90.0 / k for k in range(1, int(point) + 1)}, "draft_length_chosen": 1}
    return [row("sd_offload"), row("sp_moe"), row("moe_speq"), row("moe_speq@governed", description=theta)]


def _sweep(folder: Path, points: Iterable[str], rows: Callable[[str], list[dict[str, Any]]]) -> None:
    for number, point in enumerate(points):
        publish(folder / point, rows(point), f"{number:012d}")
