"""MLPerf LoadGen: its result keys as a detail log, and the outputs as an accuracy log.

TPOT is (latency - time to first token) / (n - 1), and an output of one token is an error there. Times are whole
nanoseconds. It is no submission: LoadGen has issued nothing, so that its seeds, durations and verdict are left out.
"""

from __future__ import annotations

from typing import Any

from harness.export.base import Export
from harness.export.definitions import excluding_first, spread
from harness.export.records import System
from harness.records.files import dump

PERCENTILES = (50.0, 90.0, 95.0, 97.0, 99.0, 99.9)
LEFT_OUT = {
    "result_validity": "LoadGen has issued nothing; these are its definitions over other records",
    "result_min_duration_met": "as result_validity",
    "result_min_queries_met": "as result_validity",
    "result_perf_constraints_met": "as result_validity",
    "effective_*_rng_seed": "as result_validity",
    "result_token_throughput_with_loadgen_overhead": "no LoadGen takes part",
    "acceptance": "LoadGen has no name for drafts",
}
SHORT = "LoadGen takes an output of one token for an error"


def export(system: System) -> Export:
    """Return the logs of a system."""
    results, left_out = _results(system), dict(LEFT_OUT)
    if any(request.n < 2 for request in system.requests):
        results = {key: value for key, value in results.items() if "output_token" not in key}
        left_out |= {"result_time_per_output_token_*": SHORT}
    log = "".join(f":::MLLOG {dump(_event(key, value))}\n" for key, value in results.items())
    outputs = [
        {"seq_id": number, "qsl_idx": number, "data": _bytes(request.tokens), "token_count": request.n}
        for number, request in enumerate(system.requests)
    ]
    files = {
        f"{system.label}/mlperf_log_detail.txt": log,
        f"{system.label}/mlperf_log_accuracy.json": dump(outputs) + "\n",
    }
    return Export(files, left_out)


def _results(system: System) -> dict[str, int | float]:
    requests = system.requests
    tokens = sum(request.n for request in requests)
    mean = sum(request.latency for request in requests)
    results: dict[str, int | float] = {
        "result_completed_tokens_per_second": tokens / system.seconds,
        "result_completed_samples_per_sec": len(requests) / system.seconds,
        "result_token_throughput": tokens / mean,
    }
    results |= _latencies(
        [request.latency for request in requests], "result_{}_latency_ns", "result_{}_percentile_latency_ns"
    )
    first = "result_first_token_{}_latency_ns", "result_first_token_{}_percentile_latency_ns"
    results |= _latencies([request.ttft for request in requests], *first)
    rest = [value for request in requests if (value := excluding_first(request)) is not None]
    return results | _latencies(rest, "result_time_to_output_token_{}", "result_time_per_output_token_{}_percentile_ns")


def _latencies(seconds: list[float], named: str, at: str) -> dict[str, int | float]:
    """Return least, most, mean and percentiles, which LoadGen takes from the sample without interpolation."""
    if (stats := spread(seconds, ())) is None:
        return {}
    ordered = sorted(seconds)
    points = {f"{p:.2f}": ordered[min(int(p / 100 * len(ordered)), len(ordered) - 1)] for p in PERCENTILES}
    named_values = {named.format("min"): stats.least, named.format("max"): stats.most, named.format("mean"): stats.mean}
    return {key: int(v * 1e9) for key, v in (named_values | {at.format(p): v for p, v in points.items()}).items()}


def _event(key: str, value: int | float) -> dict[str, Any]:
    return {"key": key, "value": value, "namespace": "mlperf::logging", "event_type": "POINT_IN_TIME", "metadata": {}}


def _bytes(tokens: Any) -> str:
    """Return token ids as LoadGen logs a response: 32-bit little-endian integers in hexadecimal digits."""
    return b"".join(int(token).to_bytes(4, "little", signed=True) for token in tokens).hex().upper()
