"""Predictors that watch the target's own forwards, single-token and verifying ones alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from systems.methods.moe_infinity.activation import ActivationMatrices, IdleLink
from systems.methods.moe_infinity.traces import Matrix
from systems.policies.hinting import Hinting
from systems.policies.listening import Chosen, Listener, distinct


class ActivationMatching(Listener):
    """MoE-Infinity's predictor: counts where decoded tokens are routed, and after each layer plans for all later ones.

    Counting and matching take the computing thread's time, as in the released code, whose blocks predict before they
    dispatch their experts (moe_infinity/models/grok.py, arctic.py); the orders of a plan are another thread's business.

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

    def reading(self, first: int, lengths: Sequence[int]) -> None:
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
