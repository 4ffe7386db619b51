"""GuideLLM: a report with one benchmark per system, its requests and distributions.

Its TPOT divides everything from the start to the last token by all tokens, so that prefill is in it; its ITL is what
others call TPOT. Both are weighed by tokens over a run: its mean ITL is our pooled TPOT. Percentiles are values of the
sample, by weight. Tokens per iteration leave the first out: under speculation that is the acceptance length, the bonus
token included.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

from harness.export.base import Export
from harness.export.definitions import excluding_first, including_first
from harness.export.records import Request, System
from harness.records.files import dump

PERCENTILES = {
    "p001": 0.1, "p01": 1.0, "p05": 5.0, "p10": 10.0, "p25": 25.0, "p50": 50.0, "p75": 75.0, "p90": 90.0, "p95": 95.0,
    "p99": 99.0, "p999": 99.9,
}  # fmt: skip
Weighed = Callable[[Request], tuple[float, int]]
"""A request's value and how often it counts."""
METRICS: dict[str, Weighed] = {
    "request_latency": lambda request: (request.latency, 1),
    "prompt_token_count": lambda request: (request.prompt_tokens, 1),
    "output_token_count": lambda request: (request.n, 1),
    "time_to_first_token_ms": lambda request: (request.ttft * 1e3, 1),
    "time_per_output_token_ms": lambda request: (including_first(request) * 1e3, request.n),
    "inter_token_latency_ms": lambda request: ((excluding_first(request) or 0.0) * 1e3, request.n - 1),
}
LEFT_OUT = {
    "args": "no GuideLLM command was run, so that its own loader takes the benchmarks' requests, not the report",
    "scheduler_state": "no scheduler takes part",
    "request_concurrency": "requests of a batch begin together",
    "acceptance": "GuideLLM has no name for drafts; iter_tokens_per_iteration tells their effect",
}


def export(system: System) -> Export:
    """Return the report of a system."""
    began = datetime.fromisoformat(str(system.origin["started"])).timestamp()
    benchmark = {
        "type_": "generative_benchmark",
        "start_time": began,
        "end_time": began + system.seconds,
        "duration": system.seconds,
        "metrics": {name: {"successful": _summary(system.requests, of)} for name, of in METRICS.items()},
        "requests": {
            "successful": [_request(request, began) for request in system.requests], "incomplete": [], "errored": []
        },
    }  # fmt: skip
    return Export({f"{system.label}.json": dump({"benchmarks": [benchmark]}, indent=1) + "\n"}, LEFT_OUT)


def _request(request: Request, began: float) -> dict[str, Any]:
    start = began + request.start
    itl = excluding_first(request)
    end, iterations = start + request.latency, len(request.arrivals)
    timings = {
        "resolve_start": start, "request_start": start, "first_token_iteration": start + request.ttft,
        "last_token_iteration": end, "token_iterations": iterations, "request_iterations": iterations,
        "request_end": end, "resolve_end": end,
    }  # fmt: skip
    return {
        "type_": "generative_request_stats",
        "request_id": f"{request.id}#{request.repeat}",
        "output": request.text,
        "info": {"request_id": f"{request.id}#{request.repeat}", "status": "completed", "timings": timings},
        "input_metrics": {"text_tokens": request.prompt_tokens},
        "output_metrics": {"text_tokens": request.n},
        "request_latency": request.latency,
        "time_to_first_token_ms": request.ttft * 1e3,
        "time_per_output_token_ms": including_first(request) * 1e3,
        "inter_token_latency_ms": None if itl is None else itl * 1e3,
        "output_tokens_per_second": request.n / request.latency,
        "iter_tokens_per_iteration": (request.n - 1) / len(request.gaps) if request.gaps else None,
        "output_tokens_per_iteration": request.n / iterations,
    }


def _summary(requests: Sequence[Request], of: Weighed) -> dict[str, Any]:
    pairs = sorted((value, weight) for value, weight in map(of, requests) if weight)
    total = sum(weight for _, weight in pairs)
    if not total:
        return {"count": 0, "total_sum": 0.0}
    shares = list(accumulate(weight / total for _, weight in pairs))
    points = {
        name: pairs[min(bisect_left(shares, point / 100), len(pairs) - 1)][0] for name, point in PERCENTILES.items()
    }
    mean = sum(value * weight for value, weight in pairs) / total
    variance = sum(weight * (value - mean) ** 2 for value, weight in pairs) / total
    return {
        "mean": mean, "median": points["p50"], "mode": max(pairs, key=lambda pair: pair[1])[0],
        "std_dev": variance**0.5, "variance": variance, "min": pairs[0][0],
        "max": pairs[-1][0], "count": total, "total_sum": mean * total,
        "percentiles": points,
    }  # fmt: skip
