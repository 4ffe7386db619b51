"""Predictors that watch the target's own forwards, single-token and verifying ones alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from systems.policies.activation import ActivationMatrices
from systems.policies.allocation import allocate, expected_loads, lru_misses
from systems.policies.belady import Future, Need
from systems.policies.hinting import Hinting
from systems.policies.listening import Chosen, Listener, PhaseListener, distinct
from systems.policies.orders import Shape
from systems.policies.residency import LayeredLru

Predict = Callable[[int, Any], list[int]]
"""Distinct experts that the router of a later layer (ordinal) would choose for what an earlier layer's router read."""


class NextGate(PhaseListener):
    """AdapMoE's predictor (arXiv 2408.10284): the next layer's gate reads the current layer's hidden state.

    The released code does so for single-token forwards only and fetches only the first missing expert; here every
    token of a verification is read, and all that is missing is fetched. Where nothing is missing in the next
    layer, it looks one layer further, up to `depth`.

    Args:
        predict: asks the router of a later layer about what this layer's router read.
        depth: how many layers ahead are looked at most.
        residency: given slots per layer from the profile of the warm-up; None: left alone.
    """

    def __init__(
        self, predict: Predict, hinting: Hinting, shape: Shape, depth: int, residency: LayeredLru | None
    ) -> None:
        super().__init__()
        self._predict, self._hinting, self._shape, self._depth = predict, hinting, shape, depth
        self._residency = residency
        self._needs: list[list[list[int]]] = [[] for _ in range(shape.layers)]
        self._named: list[list[int]] = [[] for _ in range(shape.layers)]
        self._predicted, self._met = [0] * shape.layers, [0] * shape.layers
        self._profiling = False

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Predict the next layers."""
        if self._prefill:
            return
        if self._profiling:
            self._profile(layer, sorted(set(distinct(chosen))))
        for ahead in range(layer + 1, min(layer + self._depth, self._shape.layers - 1) + 1):
            named = self._predict(ahead, hidden)
            if ahead == layer + 1:
                self._named[ahead] = named
            if self._hinting.prefetch(ahead, named):
                break

    def learn(self, on: bool) -> None:
        """Profile the warm-up; when it ends, divide the slots among the layers."""
        self._profiling = on and self._residency is not None
        if on or self._residency is None or not any(self._needs):
            return
        most = min(self._shape.experts, self._shape.slots)
        accuracy = [met / total if total else 0.0 for met, total in zip(self._met, self._predicted, strict=True)]
        loads = [
            expected_loads(lru_misses(needs, most), share) for needs, share in zip(self._needs, accuracy, strict=True)
        ]
        if self._shape.slots >= self._shape.layers:
            self._residency.quotas = allocate(loads, self._shape.slots)

    def _profile(self, layer: int, needed: list[int]) -> None:
        self._needs[layer].append(needed)
        self._predicted[layer] += len(needed)
        self._met[layer] += len(set(needed).intersection(self._named[layer]))
        self._named[layer] = []


class ActivationMatching(Listener):
    """MoE-Infinity's predictor: counts where sequences are routed, and after each layer plans for all later ones.

    Args:
        hinting: None where only the residency policy uses the matrices.
        most: experts that one plan names at most.
    """

    def __init__(self, matrices: ActivationMatrices, hinting: Hinting | None, most: int) -> None:
        self._matrices, self._hinting, self._most = matrices, hinting, most
        self._layers = matrices.layers
        self._reading: tuple[int, Sequence[int]] | None = None
        """The first row whose prompt is being read, and the tokens of that and of each row behind it."""

    def begin(self, rows: int) -> None:
        """Start empty matrices."""
        self._matrices.begin(rows)

    def join(self, rows: int) -> None:
        """Start empty matrices for these."""
        self._matrices.join(rows)

    def reading(self, first: int, lengths: Sequence[int]) -> None:
        """Count for these rows."""
        self._reading = first, lengths

    def decoding(self) -> None:
        """Count for all rows, and plan."""
        self._reading = None
        self._plan(-1)

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Count the tokens of a layer and plan for those behind it."""
        if self._reading is not None:
            self._count(layer, chosen, *self._reading)
            return
        rows = len(self._matrices.matrices)
        self._count(layer, chosen, 0, [len(chosen) // rows] * rows)
        if layer + 1 < self._layers:
            self._plan(layer)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop finished sequences."""
        self._matrices.keep(rows)

    def end(self) -> None:
        """Keep the matrices as traces, during the warm-up."""
        self._matrices.end()

    def end_step(self) -> None:
        """Plan the next forward from its first layer on: drafting leaves the link to prefetches."""
        self._plan(-1)

    def learn(self, on: bool) -> None:
        """Collect traces during the warm-up only: a repeated prompt must not find itself."""
        self._matrices.collecting = on

    def _count(self, layer: int, chosen: Chosen, first: int, lengths: Sequence[int]) -> None:
        """Count for the rows from `first` on, which have so many tokens each."""
        start = 0
        for row, length in enumerate(lengths, first):
            tokens = chosen[start : start + length]
            self._matrices.count(row, layer, [expert for token in tokens for expert in token])
            start += length

    def _plan(self, layer: int) -> None:
        if self._hinting is not None and self._matrices.matrices:
            self._hinting.plan(self._matrices.hints(layer, self._most))


class Foresight(PhaseListener):
    """The oracle: follows a rehearsed future and orders what its schedule has next.

    Args:
        residents: owners of the slots, -1 where a slot is empty.
        window: fetches that are considered ahead; more than the link carries in a step.
    """

    def __init__(self, future: Future, hinting: Hinting, residents: Sequence[int], window: int = 24) -> None:
        super().__init__()
        self._future, self._hinting, self._window = future, hinting, window
        self._residents = residents
        self._recorded: list[Need] = []
        self._recording = self._following = False

    def rehearse(self) -> None:
        """Record the next generation."""
        self._recorded, self._recording = [], True

    def perform(self) -> None:
        """Follow what was recorded in the next generation."""
        self._recording, self._following = False, True
        self._future.foresee(self._recorded, ())

    def decoding(self) -> None:
        """Prompts have been read, and some residents gave way to them: schedule all that is left, and order what
        comes first."""
        super().decoding()
        if self._following:
            self._future.foresee(self._future.left, [owner for owner in self._residents if owner >= 0])
        self._plan()

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Record a need, or meet it and order what follows."""
        if self._prefill or not (self._recording or self._following):
            return
        experts = sorted(set(distinct(chosen)))
        if self._recording:
            self._recorded.append(Need(layer, tuple(experts)))
        if self._following:
            self._future.advance(layer, experts)
            self._plan()

    def end_step(self) -> None:
        """Hints were forgotten; what is needed next was not."""
        self._plan()

    def end(self) -> None:
        """What comes next is unknown again."""
        self._following = False

    def _plan(self) -> None:
        if self._following:
            self._hinting.plan(self._future.hints(self._window))
