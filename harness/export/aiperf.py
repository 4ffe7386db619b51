"""AIPerf: `profile_export.jsonl`, a record per request, and the aggregates of `profile_export_aiperf.json`.

Its ITL is what others call TPOT, per request; gaps between chunks are its inter chunk latency. Acceptance is a record
per request with a histogram of accepted drafts per step, length with the bonus token, the rate a share there and in
percent among the metrics; over a run there are the mean over requests and, under names of their own, the pooled values.
Spreads are the population's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from harness.export.base import NO_DRAFT, Export
from harness.export.definitions import acceptance, excluding_first, histogram, spread
from harness.export.records import Request, System
from harness.records.files import dump

PERCENTILES = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0)
WORKER = "spmoe-bench"
LEFT_OUT = {
    "input_config": "no AIPerf command was run",
    "goodput": "no service level was asked for",
    "request_ack_ns": "there is no network between asking and answering",
    "time_to_second_token": "under speculation several tokens arrive at once, the second with the first but one commit",
}


def export(system: System) -> Export:
    """Return the records and the aggregates of a system."""
    began = datetime.fromisoformat(str(system.origin["started"])).timestamp()
    metrics = [_metrics(request) for request in system.requests]
    lines = [
        {"metadata": _metadata(number, request, began), "metrics": metric_values, **_acceptance(request), "error": None}
        for number, (request, metric_values) in enumerate(zip(system.requests, metrics, strict=True))
    ]
    files = {
        f"{system.label}/profile_export.jsonl": "".join(dump(line) + "\n" for line in lines),
        f"{system.label}/profile_export_aiperf.json": dump(_aggregates(system, metrics), indent=1) + "\n",
    }
    return Export(files, LEFT_OUT if system.steps else {**LEFT_OUT, "spec_decode_acceptance": NO_DRAFT})


def _metadata(number: int, request: Request, began: float) -> dict[str, Any]:
    start = int((began + request.start) * 1e9)
    return {
        "session_num": number,
        "x_request_id": f"{request.id}#{request.repeat}",
        "request_start_ns": start,
        "request_end_ns": start + int(request.latency * 1e9),
        "benchmark_phase": "profiling",
        "was_cancelled": False,
        "worker_id": WORKER,
        "record_processor_id": WORKER,
    }


def _metrics(request: Request) -> dict[str, dict[str, Any]]:
    itl = excluding_first(request)
    values: dict[str, tuple[Any, str]] = {
        "time_to_first_token": (request.ttft * 1e3, "ms"),
        "request_latency": (request.latency * 1e3, "ms"),
        "input_sequence_length": (request.prompt_tokens, "tokens"),
        "output_sequence_length": (request.n, "tokens"),
    }
    if itl is not None:
        values["inter_token_latency"] = (itl * 1e3, "ms")
    if request.gaps:
        values["inter_chunk_latency"] = ([gap * 1e3 for gap in request.gaps], "ms")
    if itl:
        values["output_token_throughput_per_user"] = (1 / itl, "tokens/sec/user")
    if (counts := acceptance(_drafting(request))) is not None:
        values |= {
            "spec_decode_acceptance_length": (counts.length, "ratio"),
            "spec_decode_draft_acceptance_rate": (100 * counts.rate, "%"),
            "spec_decode_steps": (counts.drafts, "count"),
            "spec_decode_accepted_draft_tokens": (counts.accepted_tokens, "tokens"),
            "spec_decode_draft_tokens": (counts.draft_tokens, "tokens"),
        }
    return {name: {"value": value, "unit": unit} for name, (value, unit) in values.items()}


def _drafting(request: Request) -> list[tuple[int, int]]:
    return [step for step in request.steps if step[0]]


def _acceptance(request: Request) -> dict[str, Any]:
    drafting = _drafting(request)
    if (counts := acceptance(drafting)) is None:
        return {}
    record = {
        "engine": WORKER,
        "mean_acceptance_length": counts.length,
        "draft_acceptance_rate": counts.rate,
        "acceptance_histogram": histogram(drafting),
        "num_accepted_draft_tokens": counts.accepted_tokens,
        "num_draft_tokens": counts.draft_tokens,
        "num_spec_steps": counts.drafts,
        "num_spec_tokens": max(drafted for drafted, _ in drafting),
        "completion_tokens": request.n,
    }
    return {"spec_decode_acceptance": record}


def _aggregates(system: System, metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    aggregates: dict[str, Any] = {}
    for name in dict.fromkeys(name for metric_values in metrics for name in metric_values):
        entries = [metric_values[name] for metric_values in metrics if name in metric_values]
        pooled = [x for e in entries for x in (e["value"] if isinstance(e["value"], list) else [e["value"]])]
        aggregates[name] = _entry(pooled, entries[0]["unit"])
    tokens = sum(request.n for request in system.requests)
    scalars: dict[str, tuple[float, str]] = {
        "request_count": (len(system.requests), "requests"),
        "benchmark_duration": (system.seconds, "sec"),
        "request_throughput": (len(system.requests) / system.seconds, "requests/sec"),
        "output_token_throughput": (tokens / system.seconds, "tokens/sec"),
    }
    if (counts := acceptance(system.steps)) is not None:
        scalars |= {
            "spec_decode_token_weighted_acceptance_length": (counts.length, "ratio"),
            "spec_decode_overall_draft_acceptance_rate": (100 * counts.rate, "%"),
        }
    aggregates |= {name: {"unit": unit, "avg": value} for name, (value, unit) in scalars.items()}
    return aggregates | {"was_cancelled": False, "error_summary": []}


def _entry(values: Sequence[float], unit: str) -> dict[str, Any]:
    stats = spread(values, PERCENTILES)
    assert stats is not None, "a metric that is there has values"
    points = {f"p{point:g}": value for point, value in stats.percentiles.items()}
    counts = {"count": len(values), "sum": sum(values)}
    return {
        "unit": unit,
        "avg": stats.mean,
        "min": stats.least,
        "max": stats.most,
        **points,
        "std": stats.std,
        **counts,
    }
