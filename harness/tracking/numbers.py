"""Records as numbers that a tracker plots: a line per request or step, units in the names, what is unknown left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.records.lines import RequestLine, StepLine
from harness.records.summary_file import Row

Numbers = dict[str, Any]
MIB = 2**20
UNITS = {
    "s": ("ms", 1e3),
    "s/token": ("ms", 1e3),
    "bytes": ("mib", 1 / MIB),
    "bytes/token": ("mib_per_token", 1 / MIB),
    "tokens/s": ("tokens_per_s", 1.0),
    "tokens": ("tokens", 1.0),
}
"""What stands behind a metric's name for its unit, and the factor to that unit; shares and ratios have none."""


def summary(row: Row) -> Numbers:
    """Return a cell's metrics by name and unit, with the bounds of their intervals."""
    values: Numbers = {}
    for id, entry in row["metrics"].items():
        suffix, factor = UNITS.get(entry["unit"], ("", 1.0))
        name = f"{id.removesuffix('_bytes').replace('bytes_per_token', 'moved')}_{suffix}" if suffix else id
        bounds = {f"{name}_{side}": entry.get(side) for side in ("low", "high")}
        for key, value in {name: entry["value"], **bounds}.items():
            if value is not None:
                values[key] = value * factor
    return values


def of_requests(requests: Sequence[RequestLine], steps: Sequence[StepLine]) -> list[Numbers]:
    """Return one line per request in the order of the records.

    Experts, bytes and stall are those of the generation that decoded it: with `measure.batch=1` its own, else shared by
    the requests of a batch.
    """
    shared = _by_generation(steps)
    counts = _steps_by_row(steps)
    return [_of_request(line, shared, counts) for line in requests]


def of_steps(steps: Sequence[StepLine]) -> list[Numbers]:
    """Return one line per draft-verify cycle."""
    return [
        _known(
            duration_ms=(line.seconds or 0.0) * 1e3,
            stall_ms=line.spans.get("transfer", 0.0) * 1e3,
            drafted_tokens=sum(line.drafted),
            accepted_tokens=sum(line.accepted),
            hit_rate=_ratio(line.resident + line.on_time, line.needed),
            moved_mib=line.moved_bytes / MIB,
        )
        for line in cycles(steps)
    ]


def cycles(steps: Sequence[StepLine]) -> Iterator[StepLine]:
    """Yield the lines that are draft-verify cycles, not prefills or what settles an account."""
    return (line for line in steps if line.is_step)


def acceptance_by_position(row: Row) -> list[float]:
    """Return the share of all steps that accepted at least 1, 2, ... drafts."""
    metrics, shares = row["metrics"], list[float]()
    while (entry := metrics.get(f"acceptance_marginal_{len(shares) + 1}")) and entry["value"] is not None:
        shares.append(entry["value"])
    return shares


def _of_request(line: RequestLine, shared: Mapping[Any, Numbers], counts: Mapping[Any, int]) -> Numbers:
    generation = (line.repeat, line.batch)
    steps, tokens = counts.get((*generation, line.row), 0), line.decode_tokens
    return _known(
        tpot_ms=_ratio(line.decode_seconds * 1e3, tokens),
        ttft_ms=None if line.ttft is None else line.ttft * 1e3,
        prompt_tokens=line.prompt_tokens,
        output_tokens=line.n,
        acceptance_rate=_ratio(line.accepted, line.drafted),
        acceptance_length_tokens=1 + line.accepted / steps if steps else None,
        exact=None if line.exact_match is None else int(line.exact_match),
        **shared.get(generation, {}),
    )


def _by_generation(steps: Sequence[StepLine]) -> dict[tuple[int, int], Numbers]:
    """Return hit rate and moved bytes of every generation while decoding, and its share of time spent waiting."""
    sums: dict[tuple[int, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in steps:
        total = sums[line.repeat, line.batch]
        if line.phase == "decode":
            total["needed"] += line.needed
            total["hits"] += line.resident + line.on_time
            total["moved"] += line.moved_bytes
    for line in cycles(steps):
        total = sums[line.repeat, line.batch]
        total["seconds"] += line.seconds or 0.0
        total["waited"] += line.spans.get("transfer", 0.0)
    return {
        generation: _known(
            hit_rate=_ratio(total["hits"], total["needed"]),
            moved_mib=total["moved"] / MIB,
            stall_share=_ratio(total["waited"], total["seconds"]),
        )
        for generation, total in sums.items()
    }


def _steps_by_row(steps: Sequence[StepLine]) -> dict[tuple[int, int, int], int]:
    """Count the cycles that each row took part in."""
    counts: dict[tuple[int, int, int], int] = defaultdict(int)
    for line in cycles(steps):
        for row in line.rows or ():
            counts[line.repeat, line.batch, row] += 1
    return counts


def _ratio(up: float, down: float) -> float | None:
    return up / down if down else None


def _known(**values: float | None) -> Numbers:
    return {name: value for name, value in values.items() if value is not None}
