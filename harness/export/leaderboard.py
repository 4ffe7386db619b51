"""Hugging Face's leaderboard template: per system `config` and `results`, a number per task and metric.

A task is what the outputs were scored on. Speeds stand under a task of their own, in the units of LLM-Perf: prefill in
seconds, decoding in tokens per second of one request.
"""

from __future__ import annotations

from typing import Any

from harness.export.base import Export
from harness.export.definitions import excluding_first
from harness.export.records import System
from harness.records.files import dump

SPEED = "speed"
SCORES = ("pass_at_1", "accuracy", "rouge_1", "rouge_2", "rouge_l")
UNSCORED = "outputs were not scored: accuracy.allow_code_execution=true, or a dataset with a scorer"


def export(system: System) -> Export:
    """Return the results file of a system."""
    metrics = system.row["metrics"]
    scores = {id: metrics[id]["value"] for id in SCORES if metrics.get(id, {}).get("value") is not None}
    results: dict[str, dict[str, float]] = {system.row["dataset"]: scores} if scores else {}
    results[SPEED] = _speed(system)
    left_out = {} if scores else {f"{system.row['dataset']}/accuracy": UNSCORED}
    facts = {"config": _config(system), "results": results}
    return Export({f"{system.label}.json": dump(facts, indent=1) + "\n"}, left_out)


def _config(system: System) -> dict[str, Any]:
    model: Any = system.origin.get("model", {})
    return {
        "model_name": f"{system.row['model']}/{system.label}",
        "model_dtype": f"torch.{model['dtype']}" if "dtype" in model else None,
        # There is no revision of a hub: hashes of the target's files say which weights these are.
        "model_sha": "-".join(model.get("target", {}).values()) or None,
    }


def _speed(system: System) -> dict[str, float]:
    """Mean time to the first token, mean over requests of tokens per second behind it, and the whole's throughput."""
    requests = system.requests
    rates = [1 / value for request in requests if (value := excluding_first(request))]
    speeds = {
        "prefill.latency.mean(s)": sum(request.ttft for request in requests) / len(requests),
        "end2end.throughput(tokens/s)": sum(request.n for request in requests) / system.seconds,
    }
    return speeds | ({"decode.throughput.mean(tokens/s)": sum(rates) / len(rates)} if rates else {})
