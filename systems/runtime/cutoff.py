"""SP-MoE's cutoff: the steps of the warm-up, and playing them over at another depth."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from systems.contract.costs import Costs
from systems.contract.meter import NullMeter
from systems.contract.requests import Request
from systems.policies.cutoff import DraftedStep, shortest, times_by_depth
from systems.runtime.clock import Pace
from systems.runtime.expert_cache import ExpertCache

MOST_VISITS = 1024
"""Visits of layers that are played at each depth: the warm-up's last steps, a tenth of a second of a processor."""


class WarmUp(NullMeter):
    """An unmeasured run with prefetch at every layer, of which it keeps the last steps."""

    def __init__(self, layers: int, top_k: int) -> None:
        super().__init__([])
        self.layers, self.top_k = layers, top_k
        self.steps: deque[DraftedStep] = deque(maxlen=max(MOST_VISITS // layers, 1))
        self._step = DraftedStep()
        self._unread = 0

    def begin(self, requests: Sequence[Request], stop_tokens: frozenset[int]) -> None:
        """Go on with another batch."""
        super().__init__([request.max_new_tokens for request in requests], stop_tokens)
        self._step, self._unread = DraftedStep(), 0

    def hint(self, layer: int, experts: Sequence[int]) -> None:
        """A draft forward has reached `layer` and named experts for it; layers come in order."""
        hints = self._step.hints
        if not hints or layer in hints[-1]:
            hints.append({})
        hints[-1][layer] = list(experts)

    def visit(self, layer: int, needed: dict[int, int]) -> None:
        """The verification needs these experts of the next layer."""
        self._step.needs.append(dict(needed))

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        """A step has ended. After a draft that was accepted to the end the next one has two tokens to read."""
        done, self._step = self._step, DraftedStep()
        done.rows, done.unread = len(rows), max(self._unread, len(rows))
        self._unread = len(rows) * max((1 + (a == d) for a, d in zip(accepted, drafted, strict=True)), default=1)
        if len(done.needs) == self.layers:
            self.steps.append(done)


class CutoffSearch:
    """Chooses the depth by playing the warm-up's steps over.

    Args:
        make_cache: makes an empty cache like the one that runs, on a virtual clock.
        costs: what layers take on it.

    Attributes:
        times: step time (s) by depth.
    """

    def __init__(self, make_cache: Callable[[], ExpertCache], costs: Costs, warm_up: WarmUp) -> None:
        self._make_cache, self._costs, self.warm_up = make_cache, costs, warm_up
        self.times: dict[int, float] = {}

    def choose(self) -> int:
        """Return the best depth; all layers where nothing was decoded."""
        if not self.warm_up.steps:
            return self.warm_up.layers
        self.times = times_by_depth(self._play, self.warm_up.layers)
        return shortest(self.times)

    def describe(self) -> dict[str, object]:
        """The predicted step time (ms) by depth, for the record."""
        return {"cutoff_step_ms": {str(depth): round(time * 1e3, 4) for depth, time in self.times.items()}}

    def _play(self, depth: int) -> float:
        """Return the mean time (s) of a step, the second time that they are played: the first fills the slots."""
        cache = self._make_cache()
        pace = Pace(cache.clock, self._costs)
        for step in self.warm_up.steps:
            self._play_step(step, depth, cache, pace)
        filled = cache.clock.now()
        for step in self.warm_up.steps:
            self._play_step(step, depth, cache, pace)
        return (cache.clock.now() - filled) / len(self.warm_up.steps)

    def _play_step(self, step: DraftedStep, depth: int, cache: ExpertCache, pace: Pace) -> None:
        for place, named in enumerate(step.hints):
            tokens = step.rows if place else step.unread
            for layer in range(self.warm_up.layers):
                pace.draft_layer(tokens)
                if layer < depth and layer in named:
                    cache.prefetch(layer, named[layer])
        for layer, needed in enumerate(step.needs):
            tokens = max(sum(needed.values()) // self.warm_up.top_k, 1)
            pace.half_layer(tokens)
            arriving = cache.visit(layer, needed)
            while arriving.take() >= 0:
                pace.expert(tokens, len(needed))
        cache.end_step()
