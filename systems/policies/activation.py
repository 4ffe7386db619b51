"""MoE-Infinity's sequence-level activation matrices (arXiv 2401.14361): prediction, prefetch order and residency.

A sequence's activation matrix counts, per layer and expert, the tokens that the sequence has routed there. The
matrix of the running sequence is matched with those of earlier sequences; the nearest one tells where the rest
of a forward will probably go. The released code (EfficientMoE/MoE-Infinity @d617801) has the calls that predict
and prefetch commented out for Mixtral, DeepSeek, NLLB and Switch and evicts by visit count; this is the
mechanism of the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from systems.policies.orders import DEMAND, Hint, Order, Shape
from systems.policies.residency import Evictable, Residency

Matrix: TypeAlias = NDArray[np.float64]
CAPACITY = 1000
"""Matrices that are kept, as in the released code; beyond it the nearest neighbour of a new one makes room."""
EPSILON = 1e-3
"""Keeps experts that were never activated in the order of their layers."""


class Traces:
    """Activation matrices of earlier sequences, each flattened and of unit length."""

    def __init__(self, shape: Shape, capacity: int = CAPACITY) -> None:
        self._shape, self._capacity = shape, capacity
        self._rows = np.zeros((0, shape.layers * shape.experts))

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, matrix: Matrix) -> None:
        """Keep the matrix of a finished sequence."""
        row = _unit(matrix.ravel())
        if len(self._rows) < self._capacity:
            self._rows = np.vstack([self._rows, row])
        else:
            self._rows[int(np.argmax(self._rows @ row))] = row

    def __getitem__(self, number: int) -> Matrix:
        """Return a stored matrix."""
        found: Matrix = self._rows[number].reshape(self._shape.layers, self._shape.experts)
        return found

    def nearest(self, matrix: Matrix) -> int | None:
        """Return the number of the stored matrix with the largest cosine to `matrix`, None while there is none."""
        return int(np.argmax(self._rows @ matrix.ravel())) if len(self._rows) else None


class ActivationMatrices:
    """The matrices of the running sequences, one per row of the batch, and what they predict."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.layers = shape.layers
        self.traces = Traces(shape)
        self.matrices: list[Matrix] = []
        self.collecting = False
        """Whether finished sequences are kept as traces."""
        self._started: list[Matrix] = []
        self._scores: list[float] | None = None
        self._stale = set[int]()
        """Layers that were counted since the scores were made."""
        self._plans: dict[tuple[int, ...], list[Hint]] = {}
        """Plans by layer, most, and numbers of the nearest traces: these seldom change."""

    def begin(self, rows: int) -> None:
        """A batch of so many sequences starts."""
        self.matrices, self._started = [], []
        self.join(rows)

    def join(self, rows: int) -> None:
        """So many sequences come behind the present ones."""
        joining = [np.zeros((self._shape.layers, self._shape.experts)) for _ in range(rows)]
        self.matrices = [*self.matrices, *joining]
        self._started += joining
        self._scores = None

    def count(self, row: int, layer: int, experts: Sequence[int]) -> None:
        """Tokens of a sequence were routed to these experts, with repetition."""
        self.matrices[row][layer] += np.bincount(experts, minlength=self._shape.experts)
        self._stale.add(layer)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        self.matrices = [self.matrices[row] for row in rows]
        self._scores = None

    def end(self) -> None:
        """The batch is over: keep its matrices, if they are collected."""
        if self.collecting:
            for matrix in self._started:
                if matrix.any():
                    self.traces.add(matrix)
            self._plans.clear()
        self.matrices = []

    def hints(self, layer: int, most: int) -> list[Hint]:
        """Return what the layers behind `layer` will probably need, at most `most` experts.

        Priority is the activation ratio that the nearest trace has in that layer, falling linearly with the
        distance: `(ratio + epsilon) (1 - distance / layers)`. Experts that the trace never used are left out.
        """
        found = {number for matrix in self.matrices if (number := self.traces.nearest(matrix)) is not None}
        if not found or layer + 1 >= self._shape.layers:
            return []
        key = (layer, most, *sorted(found))
        if key not in self._plans:
            self._plans[key] = self._plan(layer, most, [self.traces[number] for number in found])
        return self._plans[key]

    def scores(self) -> tuple[list[float], set[int]]:
        """How much each expert (by id) deserves its slot, and the layers in which that has changed since the last call.

        The score is the activation ratio so far, weighed by `1 - layer / layers`: earlier layers have less time to be
        prefetched.
        """
        layers, experts = self._shape.layers, self._shape.experts
        if self._scores is None:
            self._scores, self._stale = [0.0] * (layers * experts), set(range(layers))
        for layer in self._stale:
            counts: list[float] = sum((matrix[layer] for matrix in self.matrices), np.zeros(experts)).tolist()
            total, weight = sum(counts) or 1.0, 1 - layer / layers
            self._scores[layer * experts : (layer + 1) * experts] = [(n / total + EPSILON) * weight for n in counts]
        changed, self._stale = self._stale, set[int]()
        return self._scores, changed

    def _plan(self, layer: int, most: int, traces: Sequence[Matrix]) -> list[Hint]:
        ahead = np.max([_ratios(trace)[layer + 1 :] for trace in traces], axis=0)
        distance = np.arange(1, len(ahead) + 1)[:, None]
        priority = np.where(ahead > 0, (ahead + EPSILON) * (1 - distance / self._shape.layers), 0.0).ravel()
        order = np.argsort(-priority, kind="stable")[:most]
        return [
            Hint(1.0 - float(priority[i]), layer + 1 + int(i) // self._shape.experts, int(i) % self._shape.experts)
            for i in order
            if priority[i] > 0
        ]


class ActivationAware(Residency):
    """Evicts the expert with the lowest score; what is hinted goes last, and for a demand only.

    A prefetch takes the slot only of an expert that deserves it less than what is prefetched: both are ratios
    weighed by layers, so they compare.
    """

    def __init__(self, scores: Callable[[], tuple[list[float], set[int]]], shape: Shape) -> None:
        self._scores, self._experts = scores, shape.experts
        self._residents: list[dict[int, None]] = [{} for _ in range(shape.layers)]
        self._ranked: list[list[int] | None] = [None] * shape.layers
        """Residents of each layer, the lowest score first; None where scores or residents have changed."""

    def admitted(self, expert: int) -> None:
        """Enter the layer."""
        self._residents[expert // self._experts][expert] = None
        self._ranked[expert // self._experts] = None

    def evicted(self, expert: int) -> None:
        """Leave the layer."""
        del self._residents[expert // self._experts][expert]
        self._ranked[expert // self._experts] = None

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the evictable expert with the lowest score, None for a prefetch of lower priority."""
        scores, changed = self._scores()
        for layer in changed:
            self._ranked[layer] = None
        least = self._least(scores, evictable, held)
        if least is None and order.kind == DEMAND:
            least = self._least(scores, evictable, ())
        if least is None or order.kind == DEMAND or scores[least] < 1.0 - order.urgency:
            return least
        return None

    def _least(self, scores: Sequence[float], evictable: Evictable, spared: Collection[int]) -> int | None:
        found, lowest = None, float("inf")
        for layer, residents in enumerate(self._residents):
            if (ranked := self._ranked[layer]) is None:
                self._ranked[layer] = ranked = sorted(residents, key=scores.__getitem__)
            for expert in ranked:
                if scores[expert] >= lowest:
                    break
                if expert not in spared and expert in evictable:
                    found, lowest = expert, scores[expert]
                    break
        return found


def _unit(row: Matrix) -> Matrix:
    length = float(np.linalg.norm(row))
    return row / length if length else row


def _ratios(matrix: Matrix) -> Matrix:
    """Share of each layer's activations that went to each expert."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares: Matrix = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    return shares
