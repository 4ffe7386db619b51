"""A system: a drafter and an expert cache around the shared target, and the one thing fixed at warm-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from systems.api import Costs, Meter, NullMeter, Request
from systems.drafters.base import Drafter
from systems.policies.cutoff import choose_cutoff
from systems.runtime.expert_cache import ExpertCache
from systems.runtime.link import Link
from systems.runtime.loop import generate
from systems.runtime.pair import Pair
from systems.runtime.statistics import StepStatistics


class Depth:
    """How many leading MoE layers are prefetched; with `auto`, all of them until warm-up has been seen."""

    def __init__(self, cutoff: int | Literal["auto"], layers: int) -> None:
        self.auto = cutoff == "auto"
        self.layers = layers if cutoff == "auto" else min(cutoff, layers)

    def __call__(self) -> int:
        """Return the depth in force."""
        return self.layers


class ComposedSystem:
    """`systems.api.System` made of parts. Built by `systems.build.build`."""

    drafter: Drafter
    fast_bytes: int

    def __init__(self, pair: Pair, cache: ExpertCache, link: Link, depth: Depth, costs: Costs) -> None:
        self._pair, self._cache, self._link = pair, cache, link
        self._depth, self._costs = depth, costs
        self._statistics: StepStatistics | None = None
        self._profiling = False

    def generate(self, requests: Sequence[Request], meter: Meter) -> None:
        """Generate for a batch; see `systems.api.System`."""
        self._pair.port.cache = self._cache
        generate(self._pair.target, self.drafter, self._cache, requests, meter)

    def prefetch(self, layer: int, experts: list[int]) -> None:
        """Order predicted experts; the predictor calls this."""
        ordered = self._cache.prefetch(layer, experts)
        if self._profiling and self._statistics is not None:
            self._statistics.hint(layer, ordered)

    def calibrate(self, requests: Sequence[Request]) -> None:
        """Warm the slots up, and let the latency model choose the cutoff if it is `auto`.

        May be called for several batches; the choice rests on all of them.
        """
        if not self._depth.auto:
            self.generate(requests, NullMeter([request.max_new_tokens for request in requests]))
            return
        if self._statistics is None:
            self._statistics = StepStatistics(self._pair.num_layers, self.drafter.draft_length)
        self._statistics.begin(requests)
        self._depth.layers, self._profiling = self._pair.num_layers, True
        self.generate(requests, self._statistics)
        self._profiling = False
        self._depth.layers = choose_cutoff(self._statistics.profile(self._costs, len(self._cache.slots)))

    def describe(self) -> dict[str, Any]:
        """Slots, bytes and the cutoff in force."""
        return {
            "slots": len(self._cache.slots),
            "fast_bytes": self.fast_bytes,
            "draft_bytes": self.drafter.fast_bytes,
            "draft_length": self.drafter.draft_length,
            "cutoff": self._depth.layers,
            "cutoff_auto": self._depth.auto,
        }

    def close(self) -> None:
        """Stop the transfer thread."""
        self._link.close()
