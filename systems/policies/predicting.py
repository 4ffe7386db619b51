"""Predictors that watch the target's own forwards, single-token and verifying ones alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from systems.policies.activation import ActivationMatrices
from systems.policies.allocation import allocate, expected_loads, lru_misses
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
        self._row: int | None = None

    def begin(self, rows: int) -> None:
        """Start empty matrices."""
        self._matrices.begin(rows)

    def join(self, rows: int) -> None:
        """Start empty matrices for these."""
        self._matrices.join(rows)

    def reading(self, row: int) -> None:
        """Count for this row."""
        self._row = row

    def decoding(self) -> None:
        """Count for all rows, and plan."""
        self._row = None
        self._plan(-1)

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Count the tokens of a layer and plan for those behind it."""
        if self._row is not None:
            self._matrices.count(self._row, layer, [expert for token in chosen for expert in token])
            return
        width = len(chosen) // len(self._matrices.matrices)
        for row in range(len(self._matrices.matrices)):
            tokens = chosen[row * width : (row + 1) * width]
            self._matrices.count(row, layer, [expert for token in tokens for expert in token])
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

    def _plan(self, layer: int) -> None:
        if self._hinting is not None and self._matrices.matrices:
            self._hinting.plan(self._matrices.hints(layer, self._most))
