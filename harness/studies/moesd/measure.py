"""Measuring what the model is fitted to: plain and speculative decoding over experts per token, drafts and batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Any

import numpy as np

from harness.measure.contender import undisturbed
from harness.measure.meter import RecordingMeter
from harness.records import provenance
from harness.records.generation import Step
from harness.studies.moesd.fit import Floors, Point
from harness.studies.moesd.speedup import Setting
from systems import api
from systems.api import Request, SystemConfig

NOTHING = api.Costs({1: 0.0}, {1: 0.0}, 0.0, 0.0)
PLAIN = SystemConfig("plain", "", residency={"part": "all"})


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is measured: every combination."""

    top_ks: tuple[int, ...]
    draft_lengths: tuple[int, ...]
    batches: tuple[int, ...]
    new_tokens: int


def points(model: api.ModelConfig, sweep: Sweep, encode: Callable[[Any], Sequence[Request]]) -> Iterator[Point]:
    """Measure, all experts resident; yields each point as it is known.

    Args:
        encode: makes the requests for a loaded pair, as many as the largest batch.
    """
    for top_k in sweep.top_ks:
        pair = api.load_pair(replace(model, top_k=top_k), provenance.ROOT)
        try:
            requests = [replace(request, max_new_tokens=sweep.new_tokens) for request in encode(pair)]
            for batch in sweep.batches:
                yield from _at_batch(pair, requests[:batch], sweep.draft_lengths)
        finally:
            pair.close()


def floors(pair: api.ModelPair, measured: Sequence[Point]) -> Floors:
    """Return what bounds the parameters: bytes over the bandwidth of memory that is read again, and shortest times."""
    bandwidth = _bandwidth()
    return Floors(
        dense=pair.non_expert_bytes / bandwidth,
        expert=pair.num_layers * pair.record_bytes / bandwidth,
        draft=pair.draft_bytes / bandwidth,
        launch=min(point.plain for point in measured),
        draft_launch=min(point.draft / point.setting.draft_length for point in measured),
    )


def _at_batch(pair: api.ModelPair, requests: Sequence[Request], draft_lengths: Sequence[int]) -> Iterator[Point]:
    plain = _steps(pair, PLAIN, requests)
    for length in draft_lengths:
        drafting = replace(PLAIN, drafter={"part": "model", "draft_length": length})
        steps = _steps(pair, drafting, requests)
        draft, verify = (median(step.spans[name] for step in steps) for name in ("draft", "verify"))
        yield Point(
            Setting(pair.num_experts, pair.top_k, length, len(requests)),
            plain=median(step.seconds for step in plain),
            verify=verify,
            draft=draft,
            rest=max(0.0, median(step.seconds for step in steps) - draft - verify),
            tokens_per_cycle=1 + fmean(count for step in steps for count in step.accepted),
        )


def _steps(pair: api.ModelPair, config: SystemConfig, requests: Sequence[Request]) -> list[Step]:
    """Run a batch and return its cycles of full width, without the first, which warms up."""
    system = api.build_system(config, pair, pair.expert_bytes + pair.draft_bytes, None, NOTHING)
    meter = RecordingMeter([request.id for request in requests], [request.max_new_tokens for request in requests])
    try:
        with undisturbed():
            system.generate(requests, meter)
    finally:
        system.close()
    whole = [step for step in meter.finish().steps if len(step.rows) == len(requests)]
    return whole[1:] or whole


def _bandwidth(bytes_: int = 2**20, repeats: int = 50) -> float:
    """Bytes per second at which a processor reads what it has just read."""
    data = np.ones(bytes_ // 8)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        data.sum()
        best = min(best, time.perf_counter() - start)
    return bytes_ / best
