"""`vllm bench serve --save-result --save-detailed`: one JSON per system.

Its ITL is a list of gaps between chunks, not divided by the tokens of a chunk: under speculation a chunk is a commit,
and mean ITL is the time of a step, larger than TPOT. Its acceptance counts every draft, those behind the end of an
output too, the rate in percent; per position it is marginal. Spreads are the population's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.export.base import NO_DRAFT, Export
from harness.export.definitions import acceptance, by_position, excluding_first, spread
from harness.export.records import System
from harness.records.files import dump

PERCENTILES = (99.0,)
"""As the tool's default."""
LEFT_OUT = {
    "request_goodput": "no service level was asked for",
    "max_output_tokens_per_s": "counted in whole seconds, by chunks: of short runs it says nothing",
    "max_concurrent_requests": "requests of a batch begin together; `max_concurrency` has how many",
    "request_rate": "requests are handed over in batches; none arrives at a rate",
}


def export(system: System) -> Export:
    """Return the result file of a system."""
    speculation = _speculation(system)
    left_out = LEFT_OUT if speculation else {**LEFT_OUT, "spec_decode_*": NO_DRAFT}
    facts = {**_head(system), **_totals(system), **_latencies(system), **speculation, **_details(system)}
    return Export({f"{system.label}.json": dump(facts, indent=1) + "\n"}, left_out)


def _head(system: System) -> dict[str, Any]:
    return {
        "date": system.origin.get("started"),
        "backend": "spmoe-bench",
        "label": system.label,
        "model_id": system.row["model"],
        "num_prompts": len(system.requests) + len(system.silent),
        "max_concurrency": system.row["batch"],
    }


def _totals(system: System) -> dict[str, Any]:
    requests, seconds = system.requests, system.seconds
    taken, given = sum(request.prompt_tokens for request in requests), sum(request.n for request in requests)
    return {
        "duration": seconds,
        "completed": len(requests),
        "failed": len(system.silent),
        "total_input_tokens": taken,
        "total_output_tokens": given,
        "request_throughput": len(requests) / seconds,
        "output_throughput": given / seconds,
        "total_token_throughput": (taken + given) / seconds,
    }


def _latencies(system: System) -> dict[str, float]:
    per_token = [excluding_first(request) for request in system.requests]
    samples: dict[str, Sequence[float]] = {
        "ttft": [request.ttft for request in system.requests],
        "tpot": [value for value in per_token if value is not None],
        "itl": [gap for request in system.requests for gap in request.gaps],
        "e2el": [request.latency for request in system.requests],
    }
    values_ms: dict[str, float] = {}
    for name, values in samples.items():
        if (stats := spread(values, PERCENTILES)) is not None:
            values_ms |= {f"mean_{name}_ms": stats.mean * 1e3, f"median_{name}_ms": stats.median * 1e3}
            values_ms |= {f"std_{name}_ms": stats.std * 1e3}
            values_ms |= {f"p{point:g}_{name}_ms": value * 1e3 for point, value in stats.percentiles.items()}
    return values_ms


def _speculation(system: System) -> dict[str, Any]:
    if (counts := acceptance(system.steps)) is None:
        return {}
    return {
        "spec_decode_acceptance_rate": 100 * counts.rate,
        "spec_decode_acceptance_length": counts.length,
        "spec_decode_num_drafts": counts.drafts,
        "spec_decode_draft_tokens": counts.draft_tokens,
        "spec_decode_accepted_tokens": counts.accepted_tokens,
        "spec_decode_per_position_acceptance_rates": by_position(system.steps),
    }


def _details(system: System) -> dict[str, list[Any]]:
    requests = system.requests
    return {
        "input_lens": [request.prompt_tokens for request in requests],
        "output_lens": [request.n for request in requests],
        "ttfts": [request.ttft for request in requests],
        "itls": [request.gaps for request in requests],
        "latencies": [request.latency for request in requests],
        "start_times": [request.start for request in requests],
        "generated_texts": [request.text for request in requests],
        "errors": ["" for _ in requests],
    }
