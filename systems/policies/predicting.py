"""Predictors that watch the target's own forwards, single-token and verifying ones alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from systems.policies.activation import ActivationMatrices
from systems.policies.hinting import Hinting
from systems.policies.listening import Chosen, Listener

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
