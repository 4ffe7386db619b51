"""Predictors that watch the target's own forwards, single-token and verifying ones alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from systems.policies.activation import ActivationMatrices, IdleLink
from systems.policies.allocation import allocate, expected_loads, lru_misses
from systems.policies.belady import Future, Need
from systems.policies.hinting import Hinting
from systems.policies.listening import Chosen, Listener, PhaseListener, distinct
from systems.policies.orders import Shape
from systems.policies.residency import LayeredLru
from systems.policies.traces import Matrix

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
    """MoE-Infinity's predictor: counts where decoded tokens are routed, and after each layer plans for all later ones.

    Args:
        link: None where only the residency policy uses the matrices.
        carried: transfers that the link carries while a layer computes so many tokens.
        between: those that it carries between two forwards, while a draft runs.
    """

    def __init__(
        self,
        matrices: ActivationMatrices,
        hinting: Hinting,
        link: IdleLink | None = None,
        carried: Callable[[int], float] = lambda tokens: 0.0,
        between: float = 0.0,
    ) -> None:
        self._matrices, self._hinting, self._link = matrices, hinting, link
        self._carried, self._between = carried, between
        self._reading = True
        self.on_finished: Callable[[Sequence[Matrix]], None] | None = None
        """Told the matrices of every batch that is over, those without a decoded token left out."""

    def begin(self, rows: int) -> None:
        """Start empty matrices."""
        self._matrices.begin(rows)

    def join(self, rows: int) -> None:
        """Start empty matrices for these."""
        self._matrices.join(rows)

    def reading(self, row: int) -> None:
        """A prompt is not counted."""
        self._reading = True

    def decoding(self) -> None:
        """Count, and plan."""
        self._reading = False
        self._plan_ahead()

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Count the tokens of a layer and plan for those behind it."""
        if self._reading:
            return
        matrices = self._matrices
        width = matrices.width = len(chosen) // len(matrices.running)
        for row in range(len(matrices.running)):
            tokens = chosen[row * width : (row + 1) * width]
            matrices.count(row, layer, [expert for token in tokens for expert in token])
        if layer + 1 < matrices.layers:
            self._plan(layer, self._idle(len(chosen), len(set(distinct(chosen)))))

    def keep(self, rows: Sequence[int]) -> None:
        """Drop finished sequences."""
        self._matrices.keep(rows)

    def end(self) -> None:
        """Keep the matrices as traces, during the warm-up."""
        finished = self._matrices.end()
        if self.on_finished is not None:
            self.on_finished(finished)

    def end_step(self) -> None:
        """Plan the next forward from its first layer on: drafting leaves the link to prefetches."""
        self._plan_ahead()

    def learn(self, on: bool) -> None:
        """Collect traces during the warm-up only: a repeated prompt must not find itself."""
        self._matrices.collecting = on and self._matrices.learning

    def _idle(self, tokens: int, experts: int) -> float:
        """Transfers that the link has time for until the next layer asks: its own may come in last, and what is left
        then is the last of `experts`, each as long as the others, and the half of the next layer before its experts."""
        return self._carried(tokens) * (1 + 1 / experts) / 2

    def _plan_ahead(self) -> None:
        """Until the first layer asks, the draft runs and the first half of that layer is computed."""
        matrices = self._matrices
        self._plan(-1, self._between + self._carried(matrices.width * len(matrices.running)) / 2)

    def _plan(self, layer: int, room: float) -> None:
        if self._link is not None and self._matrices.running:
            self._hinting.plan(self._link.hints(layer, room))


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
