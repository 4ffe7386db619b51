"""The measuring itself: systems take turns on the same prompts in one process, in a new random order each time.

Interleaving is what makes a speedup believable: whatever the machine does meanwhile (clocks, neighbours,
page cache) falls on all systems alike, and every pair of systems shares its prompts. A system follows each of the
others equally often in the long run, so that what those leave in the processor's caches falls on all alike, too.
"""

from __future__ import annotations

import hashlib
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from harness.config.bench import BenchConfig, budget_bytes, size_bytes
from harness.datasets import Prompt, Selection, select
from harness.measure import reference
from harness.measure.contender import Contender, frozen
from harness.measure.device_memory import DeviceMemory, is_exhausted
from harness.measure.hardware import calibrate, predict
from harness.measure.meter import RecordingMeter
from harness.measure.one_by_one import synchronizer
from harness.measure.progress import Display
from harness.measure.reference import Reference
from harness.metrics.base import Cell
from harness.records.generation import Generation
from harness.records.provenance import ROOT
from systems import api
from systems.api import Request

Batches = list[tuple[Request, ...]]


@dataclass
class Session:
    """A comparison while it lasts: models, prompts, machine and systems, and then what came out of it.

    Attributes:
        pair: the models, or what a recording knows of them.
        link, costs: the machine; see `harness.measure.hardware`.
        budget: fast memory of each system (bytes).
        traces: what is replayed; None: systems run.
        reference: what lossless systems must reproduce, once `run` has found it.
        layer_drift: time of a target layer when all was measured, over the one that link and costs rest on; None: a
            replay, or nothing has been measured.
        cells: what is measured of each system, by label.
    """

    config: BenchConfig
    pair: api.ModelPair
    selection: Selection
    contenders: list[Contender]
    link: api.LinkSpec | None
    costs: api.Costs
    budget: int
    traces: api.Recording | None = None
    reference: Reference = field(default_factory=lambda: Reference(None))
    layer_drift: float | None = None
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def batches(self) -> Batches:
        """The measured requests as they are handed over."""
        return split(self.selection.requests, self.config.measure.batch + self.config.measure.queue)

    @property
    def generations_planned(self) -> int:
        """How many generations the comparison takes when nothing fails."""
        return len(self.contenders) * self.config.measure.repeats * len(self.batches)

    def warm_up(self, contender: Contender) -> None:
        """Run a system's warm-up, in batches of the measured size."""
        contender.warm_up(split(self.selection.warmup, self.config.measure.batch))

    def run(self, display: Display, on_generation: OnGeneration) -> None:
        """Run reference, warm-up and all repeats; `on_generation` stores results outside timed sections."""
        config, batches = self.config, self.batches
        try:
            self._find_reference(display)
            for contender in self.contenders:
                contender.check_memory(batches, config.measure.batch, _kv_bytes(config))
                display.note(f"{contender.label}: warm-up")
                self.warm_up(contender)
            with frozen():
                for turns in _turns(config, self.contenders, batches):
                    for turn in turns:
                        turn.contender.rehearse(turn.requests, turn.at_once)
                    for turn in turns:
                        self._take(turn, display, on_generation)
        finally:
            self.close()
        if self.traces is None:
            self.layer_drift = self._drift()
        for contender in self.contenders:
            self.cells[contender.label] = self._cell(contender)

    def close(self) -> None:
        """Close every system that is open."""
        for contender in self.contenders:
            contender.close()

    def _find_reference(self, display: Display) -> None:
        if self.traces is None:
            display.note("reference: plain greedy decoding, the first prompts by stock transformers")
        self.reference = reference.find(
            self.config, self.pair, self.selection.requests, self.traces, self.budget, self.costs, display.note
        )

    def _take(self, turn: _Turn, display: Display, on_generation: OnGeneration) -> None:
        ids = [request.id for request in turn.requests]
        limits = [request.max_new_tokens for request in turn.requests]
        system = turn.contender.system
        clock = time.perf_counter_ns if system is None else system.now_ns
        start = partial(RecordingMeter, ids, limits, self.pair.stop_tokens, clock, synchronizer(self.pair.device))
        generation = turn.contender.measure(turn.requests, turn.at_once, start, turn.repeat, turn.batch, turn.order)
        if generation is None:
            display.advance(f"{turn.contender.label} (out)", 0, 0.0)
            return
        on_generation(turn.contender, generation, turn.requests)
        display.advance(turn.contender.label, generation.decode_tokens, generation.window_time / 1e9)

    def _drift(self) -> float | None:
        """Time of a target layer now over that before; None where the device has no room to tell: what was measured
        stays measured."""
        seconds = self.config.measure.calibration_seconds
        try:
            return api.layer_time(self.pair, self.selection.prompts, seconds) / self.costs.target_layer[1]
        except Exception as error:
            if not is_exhausted(error):
                raise
            return None

    def _cell(self, contender: Contender) -> Cell:
        return Cell(
            contender.generations, self.reference.tokens, self.reference.missing, contender.fast_bytes, _peak_rss(),
            self.costs.target_layer, contender.memory.peak,
        )  # fmt: skip


OnGeneration = Callable[[Contender, Generation, Sequence[Request]], None]


@contextmanager
def opened(config: BenchConfig, prompts: Sequence[Prompt]) -> Iterator[Session]:
    """While active, the models of a comparison are loaded, the machine is calibrated, and what fits is built.

    Raises:
        BadInput: a file is missing or broken, a system's config is wrong, or a prompt is not in the recording.
    """
    for system in config.systems.values():  # before anything is loaded and timed
        with suppress(api.Unsupported):  # said beside the others' results
            api.check_system(system)
    with closing(_open_pair(config)) as pair:
        session = _prepared(config, pair, select(prompts, pair, config.dataset, config.measure))
        with closing(session):
            yield session


def _open_pair(config: BenchConfig) -> api.ModelPair:
    """Load the models of a comparison; where it is replayed, open what the recording knows of them.

    Raises:
        BadInput: a file is missing or broken.
    """
    if config.replay is None:
        return api.load_pair(config.model, ROOT)
    return api.recorded_pair(Path(config.replay), config.model, ROOT)


def _prepared(config: BenchConfig, pair: api.ModelPair, selection: Selection) -> Session:
    budget, traces = budget_bytes(config.budget, pair), None
    if config.replay is None:
        set_threads(config.measure.threads)
        link, costs = calibrate(config, pair, widths(config), selection.prompts)
        compose = partial(api.build_system, pair=pair, budget_bytes=budget, link=link, costs=costs)
    else:
        traces = api.load_traces(Path(config.replay), pair)
        traces.ensure_held([*selection.requests, *selection.warmup])
        link, costs = predict(config.hardware, pair, traces, config.timed_by)
        compose = partial(api.build_replay, traces=traces, budget_bytes=budget, link=link, costs=costs)
    device = "cpu" if traces is not None else pair.device
    contenders = [
        Contender(label, system, timed=traces is None, memory=DeviceMemory(device))
        for label, system in config.systems.items()
    ]
    session = Session(config, pair, selection, contenders, link, costs, budget, traces)
    try:
        for contender in contenders:
            contender.build(compose)
    except BaseException:
        session.close()
        raise
    return session


def split(requests: Sequence[Request], size: int) -> Batches:
    """Cut requests into batches; the last may be smaller."""
    return [tuple(requests[start : start + size]) for start in range(0, len(requests), size)]


def _kv_bytes(config: BenchConfig) -> int | None:
    """Return what keys and values may take (bytes); None: as much as they need."""
    return None if config.kv_budget is None else size_bytes("kv_budget", config.kv_budget)


@dataclass(frozen=True, slots=True)
class _Turn:
    contender: Contender
    requests: tuple[Request, ...]
    at_once: int
    repeat: int
    batch: int
    order: int


def _turns(config: BenchConfig, contenders: Sequence[Contender], batches: Batches) -> Iterator[list[_Turn]]:
    """Yield who generates what: for each batch and repeat all systems once, in an order drawn for it."""
    for repeat in range(config.measure.repeats):
        for batch, asked in enumerate(batches):
            requests = tuple(_again(request, repeat) for request in asked)
            order = list(contenders)
            random.Random(f"{config.measure.seed}/{repeat}/{batch}").shuffle(order)
            yield [
                _Turn(contender, requests, config.measure.batch, repeat, batch, place)
                for place, contender in enumerate(order)
            ]


def _again(request: Request, repeat: int) -> Request:
    """Return the request of a repeat: a sampled one with a seed of its own, or its outputs were copies of the first's.

    The first keeps the configured seed. The others' come from seed and repeat: runs with neighbouring seeds share none.
    """
    sampling = request.sampling
    if repeat == 0 or sampling.temperature == 0:
        return request
    digest = hashlib.sha256(f"{sampling.seed} {repeat}".encode()).digest()
    return replace(request, sampling=replace(sampling, seed=int.from_bytes(digest[:6])))


def widths(config: BenchConfig) -> set[int]:
    """Positions per forward that occur: one per row, and a whole draft more while verifying."""
    drafts = {int(system.drafter.get("draft_length", 0)) for system in config.systems.values()}
    rows = {1, config.measure.batch}
    return {row * width for row in rows for width in {1} | {draft + 1 for draft in drafts}}


def _peak_rss() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def set_threads(threads: int) -> None:
    """Let tensors be computed by so many threads."""
    import torch

    torch.set_num_threads(threads)
