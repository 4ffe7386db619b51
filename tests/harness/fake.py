"""A pair and systems with scripted tokens that implement `systems.api`: the whole app runs in no time.

`residency.fault` of a system's YAML scripts what goes wrong with it.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from systems.api import (
    BadInput,
    Costs,
    DidNotFit,
    HostCosts,
    LayerNeeds,
    LinkSpec,
    Meter,
    ModelConfig,
    NullMeter,
    Request,
    SystemConfig,
    Traffic,
    Unsupported,
)

STOP = 0
RECORD = 1000
LAYERS, EXPERTS = 2, 8
LAYER_SECONDS = 1e-3
MISSING = {"belady": 1, "none": 3}
"""Experts that a layer has to wait for, by residency: bounds are where bounds belong; 2 for everybody else."""
SPIN = {"belady": 5_000, "none": 60_000}
"""Nanoseconds of each part of a step, by residency; 20,000 for everybody else."""


class FakePair:
    name = "fake"
    vocab_size = 251
    context_length = 600
    num_layers, num_experts, top_k = LAYERS, EXPERTS, 2
    record_bytes = RECORD
    expert_bytes = LAYERS * EXPERTS * RECORD
    draft_bytes = 2 * RECORD
    non_expert_bytes = 5000
    device = "cpu"
    stop_tokens = frozenset({STOP})

    def encode(self, text: str) -> list[int]:
        return [1 + ord(letter) % 250 for letter in text]

    def prompt(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, tokens: Sequence[int], after: Sequence[int] = ()) -> str:
        return " ".join(map(str, tokens))

    def describe(self) -> dict[str, Any]:
        return {"folder": str(Path.cwd() / "models"), "hash": "f" * 8}

    def close(self) -> None:
        pass


def script(prompt: Sequence[int], length: int) -> list[int]:
    """The one true continuation; some prompts end early at the stop token."""
    seed = sum(prompt)
    tokens = [1 + (seed + 7 * i) % 250 for i in range(length)]
    if seed % 5 == 0 and length > 6:
        tokens[6] = STOP
    return tokens


def spin(nanoseconds: int) -> None:
    """Compute for a while."""
    end = time.perf_counter_ns() + nanoseconds
    while time.perf_counter_ns() < end:
        pass


class FakeSystem:
    def __init__(self, config: SystemConfig, budget: int) -> None:
        self.config = config
        self.draft_length = int(config.drafter.get("draft_length", 0))
        self.fault = config.residency.get("fault")
        self.resident = config.residency["part"] == "all"
        self.missing = MISSING.get(config.residency["part"], 2)
        self.spin = SPIN.get(config.residency["part"], 20_000)
        self.fast_bytes = 16 * RECORD if self.resident else budget + (1 if self.fault == "greedy" else 0)
        self.calls = self.moved = 0

    def generate(self, requests: Sequence[Request], meter: Meter, at_once: int | None = None) -> None:
        self.calls += 1
        if self.fault == "crash" and not isinstance(meter, NullMeter):
            raise RuntimeError(f"link worker died at {Path.cwd()}/systems/link.py")
        if self.fault == "exhausts" and not isinstance(meter, NullMeter):
            import torch

            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        if self.fault == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "slow":
            time.sleep(0.2)
        scripts = [self._script(request) for request in requests]
        sent = [0] * len(requests)
        active = []
        for row in range(len(requests)):
            with meter.span("prefill"):
                spin(20_000)
            meter.traffic(self._traffic("prefill", 0))
            if not self._commit(meter, row, scripts, sent, 99 if self.fault == "at_once" else 1):
                active.append(row)
        while active:
            active = self._step(meter, active, scripts, sent)
        if not self.resident and self.fault not in ("fits", "away"):
            meter.traffic(Traffic("decode", moved_bytes=RECORD, wasted_bytes=RECORD))

    def _step(self, meter: Meter, active: list[int], scripts: list[list[int]], sent: list[int]) -> list[int]:
        drafting = 0 if self.fault == "mute" else self.draft_length
        with meter.span("draft"):
            spin(self.spin)
        with meter.span("verify"):
            spin(self.spin)
            with meter.span("transfer"):
                spin(self.spin)
        accepted = [sent[row] % (drafting + 1) for row in active]
        with meter.span("host"):
            going = [
                row
                for row, a in zip(active, accepted, strict=True)
                if not self._commit(meter, row, scripts, sent, a + 1)
            ]
        if self.fault != "silent":
            traffic = self._traffic("decode", drafting)
            self.moved += traffic.moved_bytes * (not isinstance(meter, NullMeter))
            meter.traffic(traffic)
        meter.step(active, [drafting] * len(active), accepted)
        return going

    def _commit(self, meter: Meter, row: int, scripts: list[list[int]], sent: list[int], count: int) -> bool:
        tokens = scripts[row][sent[row] : sent[row] + count]
        sent[row] += count
        return meter.commit(row, tokens)

    def _script(self, request: Request) -> list[int]:
        tokens = script(request.prompt, request.max_new_tokens + 8)
        if self.fault == "wrong":
            tokens[3] = 1 + tokens[3] % 250
        return tokens

    def _traffic(self, phase: Any, drafting: int) -> Traffic:
        if self.resident or (self.fault == "fits" and phase == "decode"):
            return Traffic(phase, [LayerNeeds(needed=2, resident=2) for _ in range(LAYERS)])
        if self.fault == "away":
            return Traffic(phase, [LayerNeeds(needed=2, resident=1, elsewhere=1) for _ in range(LAYERS)])
        late = 1 if drafting else 0
        missing = self.missing + (2 if self.fault == "bloated" else 0)
        layers = [self._needs(missing, late) for _ in range(LAYERS)]
        if self.fault == "leaky":
            layers[0].demand += 1
        demand, useful = RECORD * LAYERS * (missing - late), RECORD * LAYERS
        return Traffic(
            phase,
            layers,
            moved_bytes=RECORD * LAYERS * (missing + 1),
            demand_bytes=demand,
            useful_bytes=useful,
            late_bytes=RECORD * LAYERS * late,
            prefetched=LAYERS * 2,
            link_busy=1e-3,
        )

    @staticmethod
    def _needs(missing: int, late: int) -> LayerNeeds:
        return LayerNeeds(needed=5, resident=4 - missing, on_time=1, late=late, demand=missing - late)

    def now_ns(self) -> int:
        return time.perf_counter_ns()

    def kv_bytes(self, requests: Sequence[Request], at_once: int | None = None) -> int:
        return (at_once or len(requests)) * max(len(r.prompt) + r.max_new_tokens for r in requests)

    def rehearse(self, requests: Sequence[Request], at_once: int | None = None) -> None:
        if self.fault == "forgets":
            raise RuntimeError("no rehearsal")
        if self.fault == "rehearses":
            time.sleep(0.05)

    def calibrate(self, requests: Sequence[Request]) -> None:
        self.generate(requests, NullMeter([request.max_new_tokens for request in requests], frozenset({STOP})))

    def describe(self) -> dict[str, Any]:
        drafter = json.loads(json.dumps(dict(self.config.drafter)))
        oracle = {"fewest_bytes": self.moved} if self.config.residency["part"] == "belady" else {}
        return {"calls": self.calls, "drafter": drafter, "governor": dict(self.config.governor), **oracle}

    def close(self) -> None:
        pass


def load_pair(config: ModelConfig, root: Path) -> FakePair:
    return FakePair()


def host_costs(pair: FakePair, seconds: float | None = None) -> HostCosts:
    """Everything at once, on the host too."""
    return HostCosts(1e-6)


def measure_costs(
    pair: FakePair, widths: Sequence[int], prompts: Sequence[Sequence[int]], seconds: float | None = None
) -> Costs:
    layer: Mapping[int, float] = {width: LAYER_SECONDS * (1 + 0.1 * (width - 1)) for width in widths}
    return Costs(layer, layer, 1e-6, 1e-7)


def layer_time(pair: FakePair, prompts: Sequence[Sequence[int]], seconds: float | None = None) -> float:
    return LAYER_SECONDS


def stock_ratings(
    pair: FakePair, texts: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[list[tuple[int, float]]]:
    """Every token is what it would have written."""
    return [[(token, 0.0) for token in tokens] for _, tokens in texts]


def check_system(config: SystemConfig) -> None:
    """As the real one; a scripted fault is no option of its."""
    from systems.policies.composition import check_system as real

    real(replace(config, residency={key: value for key, value in config.residency.items() if key != "fault"}))


def build_system(
    config: SystemConfig, pair: FakePair, budget_bytes: int, link: LinkSpec | None, costs: Costs
) -> FakeSystem:
    if config.residency.get("fault") == "unknown":
        raise BadInput("residency.part=mru is unknown; did you mean lru?")
    if config.residency.get("fault") == "refused":
        raise Unsupported("its part does not run on this device")
    if config.residency.get("fault") == "absent":
        raise Unsupported("it needs a package: pip install 'spmoe-bench[it]'")
    if config.residency["part"] != "all" and budget_bytes < 4 * RECORD:
        raise DidNotFit(f"{budget_bytes} bytes hold no layer's experts; {4 * RECORD} would")
    return FakeSystem(config, budget_bytes)


def install(patch: Any) -> None:
    """Put the fakes in the place of `systems.api`'s functions; `patch` is `setattr` or monkeypatch's."""
    from systems import api

    for function in (load_pair, measure_costs, host_costs, layer_time, stock_ratings, check_system, build_system):
        patch(api, function.__name__, function)
