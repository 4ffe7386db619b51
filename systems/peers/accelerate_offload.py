"""accelerate's own offloading of the same checkpoint: what `device_map` gives a user by default.

Its hook loads all tensors of a module before the module's forward and drops them behind it. The experts of a layer
are one module in transformers 5, so every token loads all experts of every offloaded layer, whatever it routes to.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

from accelerate import dispatch_model
from accelerate.hooks import ModelHook, add_hook_to_module
from torch import nn

from systems.cache.clock import Clock, SkippingClock, WallClock
from systems.contract.costs import LinkSpec
from systems.contract.errors import BadInput, DidNotFit
from systems.contract.meter import Meter, NullMeter
from systems.contract.requests import Request
from systems.contract.traffic import LayerNeeds, Phase, Traffic
from systems.peers.generate import TransformersGenerate
from systems.runtime.pair import Pair


class AccelerateOffload(TransformersGenerate):
    """`systems.contract.system.System` around `model.generate`, the experts of most layers offloaded by accelerate.

    The budget is filled as `device_map="auto"` would: the experts of the first layers stay, and room is left for
    those of one more layer, which the others are loaded into in turn. All other weights stay. On CUDA the slow tier
    is host memory; on a CPU, where that is the fast one, it is a folder in the system's temporary directory. On an
    emulated link a layer's experts are there when that link would have brought them, one call for each of their
    tensors, however long this machine reads its files.

    Raises:
        BadInput: an emulated link beside a device.
        DidNotFit: the budget is smaller than the experts of one layer.
    """

    def __init__(self, pair: Pair, budget_bytes: int, link: LinkSpec | None) -> None:
        if link is not None and pair.device != "cpu":
            raise BadInput("an emulated link stands for a device; use hardware=local with a CUDA device")
        self._layer_bytes = pair.expert_bytes // pair.num_layers
        self._resident = _resident_layers(pair, budget_bytes, self._layer_bytes)
        super().__init__(pair, "cpu")  # the device need not hold all that is about to be offloaded
        self.fast_bytes = min(self._resident + 1, pair.num_layers) * self._layer_bytes
        self._slow = "disk" if pair.device == "cpu" else "cpu"
        self._folder = TemporaryDirectory(prefix="spmoe-bench-")
        experts = {name: module for name, module in self._model.named_modules() if _is_experts(module)}
        places = {"": pair.device} | dict.fromkeys(list(experts)[self._resident :], self._slow)
        _dispatch(self._model, places, self._folder.name)
        self._clock: Clock = WallClock() if link is None else SkippingClock()
        calls = len(list(next(iter(experts.values())).parameters()))
        takes = 0.0 if link is None else calls * link.latency + self._layer_bytes / link.bandwidth
        self._watch = _Watch(list(experts.values()), self._resident, self._layer_bytes, self._clock, takes)

    def generate(self, requests: Sequence[Request], meter: Meter, at_once: int | None = None) -> None:
        """Generate, and report what the hooks moved meanwhile."""
        self._watch.open(meter)
        super().generate(requests, meter, at_once)
        for traffic in self._watch.reports.values():
            meter.traffic(traffic)

    def now_ns(self) -> int:
        """The time on the clock of the link (ns)."""
        return int(self._clock.now() * 1e9)

    def describe(self) -> dict[str, Any]:
        """Where the experts are."""
        return super().describe() | {
            "offloaded_to": self._slow,
            "resident_layers": self._resident,
            "layer_bytes": self._layer_bytes,
        }

    def close(self) -> None:
        """Drop the model and remove the offload folder."""
        super().close()
        self._folder.cleanup()

    def _begin(self, meter: Meter) -> None:
        self._watch.begin_batch()


class _Watch:
    """Counts what each layer's experts are asked for and what accelerate moves for it, and times the loading.

    All bytes of a layer are demand: they are loaded when its experts are called, and nothing is ahead of time.

    Args:
        clock: stands still, if it is one that skips waits, while accelerate reads.
        takes: seconds that an emulated link takes for the experts of a layer; 0 without one.
    """

    def __init__(
        self, experts: Sequence[nn.Module], resident: int, layer_bytes: int, clock: Clock, takes: float
    ) -> None:
        self._layers, self._resident, self._layer_bytes = len(experts), resident, layer_bytes
        self._clock, self._takes = clock, takes
        self._loading, self._reading = ExitStack(), ExitStack()
        self.open(NullMeter([]))
        for layer, module in enumerate(experts):
            module.register_forward_pre_hook(partial(self._called, layer))
            if layer >= resident:
                add_hook_to_module(module, _AfterLoading(self), append=True)

    def open(self, meter: Meter) -> None:
        """Start counting for a batch."""
        self._meter = meter
        phases: tuple[Phase, ...] = ("prefill", "decode")
        self.reports = {phase: Traffic(phase, [LayerNeeds() for _ in range(self._layers)]) for phase in phases}
        self.begin_batch()

    def begin_batch(self) -> None:
        """The next forward reads prompts."""
        self._forwards = 0

    def loaded(self) -> None:
        """The experts of the layer called last have been read: they arrive."""
        self._reading.close()
        self._clock.wait(self._started + self._takes)
        self._traffic.link_busy += self._clock.now() - self._started
        self._traffic.moved_bytes += self._layer_bytes
        self._traffic.demand_bytes += self._layer_bytes
        self._loading.close()

    def _called(self, layer: int, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Before a layer's experts are loaded; `inputs` are the hidden states, `top_k_index` and `top_k_weights`."""
        self._forwards += layer == 0
        self._traffic = self.reports["prefill" if self._forwards == 1 else "decode"]
        needs, needed = self._traffic.layers[layer], int(inputs[1].unique().numel())
        needs.needed += needed
        needs.foretold += needed
        if layer < self._resident:
            needs.resident += needed
            needs.covered += needed
            return
        needs.demand += needed
        self._loading.enter_context(self._meter.span("transfer"))
        self._started = self._clock.now()
        self._reading.enter_context(self._clock.stopped())


class _AfterLoading(ModelHook):  # type: ignore[misc]
    """Comes behind accelerate's own hook of a module: its tensors are there."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Let them arrive; arguments pass unchanged."""
        self._watch.loaded()
        return args, kwargs


def _resident_layers(pair: Pair, budget_bytes: int, layer_bytes: int) -> int:
    """MoE layers whose experts stay in fast memory beside the room for one layer of the others."""
    rooms = budget_bytes // layer_bytes
    if rooms == 0:
        raise DidNotFit(
            f"budget {budget_bytes:,} B is below {layer_bytes:,} B: accelerate loads all {pair.num_experts} experts of "
            "a layer at once"
        )
    return pair.num_layers if rooms >= pair.num_layers else rooms - 1


def _is_experts(module: nn.Module) -> bool:
    """Whether a module holds the routed experts of a layer; every family names the class so."""
    return type(module).__name__.endswith("Experts")


def _dispatch(model: nn.Module, places: dict[str, str], folder: str) -> None:
    """Offload by accelerate's `device_map`, without its warning that this is what has happened."""
    logger = logging.getLogger("accelerate.big_modeling")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        dispatch_model(model, places, offload_dir=folder)
    finally:
        logger.setLevel(level)
