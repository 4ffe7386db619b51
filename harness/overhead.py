"""What measuring costs: the same generations with the recording meter and with one that does nothing.

    python -m harness.overhead systems=[offload,sp_moe] dataset.limit=8 measure.repeats=3

The two take turns on every prompt, and which goes first alternates, because the second finds warmer slots.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import comparison, datasets, provenance
from harness.config import BenchConfig
from harness.contender import Contender, frozen, undisturbed
from harness.files import dump, ensure_writable, write_text
from harness.meter import RecordingMeter
from harness.metrics.bootstrap import Interval, Pair, paired_interval
from harness.run import launch
from systems import api
from systems.api import Meter, Request

DEFINITION = "time with the recording meter / time with a no-op meter, interleaved over the same prompts"
MakeMeter = Callable[[Sequence[Request], api.ModelPair], Meter]


def main() -> int:
    """Print the ratio of times, recording : nothing, of each configured system; return the exit code."""
    return launch(_report)


def ratio(system: api.System, pair: api.ModelPair, batches: comparison.Batches, repeats: int, seed: int) -> Interval:
    """Return time with measuring / time without, and its interval over batches of prompts."""
    sides: tuple[list[Pair], list[Pair]] = ([], [])
    for index, requests in enumerate(batches):
        seconds = [0.0, 0.0]
        for repeat in range(repeats):
            for side in (0, 1) if (index + repeat) % 2 else (1, 0):
                seconds[side] += _time(system, pair, requests, (_recording, _nothing)[side])
        for side in (0, 1):
            sides[side].append((seconds[side], 1.0))
    return paired_interval(sides[0], sides[1], seed)


def _report(config: BenchConfig) -> None:
    pair = api.load_pair(config.model, provenance.ROOT)
    selection = datasets.select(datasets.load(config.dataset), pair, config.dataset, config.measure)
    measured = comparison.prepare(config, pair)
    try:
        with frozen():
            found = [_measure(contender, config, pair, selection) for contender in measured.contenders]
    finally:
        comparison.close(measured.contenders)
        pair.close()
    if config.output is not None:
        ensure_writable(Path(config.output))
        write_text(Path(config.output) / "overhead.json", dump({"definition": DEFINITION, "rows": found}, indent=1))


def _measure(
    contender: Contender, config: BenchConfig, pair: api.ModelPair, selection: datasets.Selection
) -> dict[str, str | float | None]:
    batches = comparison.split(selection.requests, config.measure.batch)
    contender.warm_up(comparison.split(selection.warmup, config.measure.batch))
    if contender.system is None:
        reason = contender.did_not_fit or contender.error
        sys.stdout.write(f"{contender.label}: {reason}\n")
        return {"system": contender.label, "value": None, "reason": reason}
    value, low, high = ratio(contender.system, pair, batches, config.measure.repeats, config.measure.seed)
    interval = "" if low is None or high is None else f" [{low - 1:+.2%}, {high - 1:+.2%}]"
    sys.stdout.write(f"{contender.label}: measuring costs {value - 1:+.2%}{interval}\n")
    return {"system": contender.label, "value": value, "low": low, "high": high}


def _time(system: api.System, pair: api.ModelPair, requests: Sequence[Request], make: MakeMeter) -> float:
    meter = make(requests, pair)
    with undisturbed():
        start = time.perf_counter()
        system.generate(requests, meter)
        return time.perf_counter() - start


def _recording(requests: Sequence[Request], pair: api.ModelPair) -> Meter:
    ids, limits = [request.id for request in requests], [request.max_new_tokens for request in requests]
    return RecordingMeter(ids, limits, pair.stop_tokens)


def _nothing(requests: Sequence[Request], pair: api.ModelPair) -> Meter:
    return api.NullMeter([request.max_new_tokens for request in requests], pair.stop_tokens)


if __name__ == "__main__":
    sys.exit(main())
