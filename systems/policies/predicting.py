"""Predictors that watch the target's own forwards, single-token and verifying ones alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from systems.policies.activation import ActivationMatrices
from systems.policies.belady import Future, Need
from systems.policies.hinting import Hinting
from systems.policies.listening import Chosen, Listener, PhaseListener, distinct

Predict = Callable[[int, Any], list[int]]
"""Distinct experts that the router of a later layer (ordinal) would choose for what an earlier layer's router read."""


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
