"""MoE-Infinity's sequence-level activation matrices (arXiv 2401.14361): prediction, prefetch order and residency.

A sequence's activation matrix counts, per layer and expert, the tokens that the sequence has routed there. The
matrix of the running sequence is matched with those of earlier sequences; the nearest one tells where the rest
of a forward will probably go. The released code (EfficientMoE/MoE-Infinity @d617801) has the calls that predict
and prefetch commented out for Mixtral, DeepSeek, NLLB and Switch and evicts by visit count; this is the
mechanism of the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from systems.policies.orders import DEMAND, Hint, Order, Shape
from systems.policies.residency import Evictable, Roster

Matrix = NDArray[np.float64]
CAPACITY = 1000
"""Matrices that are kept, as in the released code; beyond it the nearest neighbour of a new one makes room."""
EPSILON = 1e-3
"""Keeps experts that were never activated in the order of their layers."""


class Traces:
    """Activation matrices of earlier sequences, each flattened and of unit length."""

    def __init__(self, shape: Shape, capacity: int = CAPACITY) -> None:
        self._rows = np.zeros((0, shape.layers * shape.experts))
        self._capacity = capacity

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, matrix: Matrix) -> None:
        """Keep the matrix of a finished sequence."""
        row = _unit(matrix.ravel())
        if len(self._rows) < self._capacity:
            self._rows = np.vstack([self._rows, row])
        else:
            self._rows[int(np.argmax(self._rows @ row))] = row

    def nearest(self, matrix: Matrix) -> Matrix | None:
        """Return the stored matrix with the largest cosine to `matrix`, None while there is none."""
        if not len(self._rows):
            return None
        best = int(np.argmax(self._rows @ matrix.ravel()))
        found: Matrix = self._rows[best].reshape(matrix.shape)
        return found


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
        np.add.at(self.matrices[row][layer], experts, 1.0)
        self._scores = None

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
        self.matrices = []

    def hints(self, layer: int, most: int) -> list[Hint]:
        """Return what the layers behind `layer` will probably need, at most `most` experts.

        Priority is the activation ratio that the nearest trace has in that layer, falling linearly with the
        distance: `(ratio + epsilon) (1 - distance / layers)`. Experts that the trace never used are left out.
        """
        found = [trace for matrix in self.matrices if (trace := self.traces.nearest(matrix)) is not None]
        if not found or layer + 1 >= self._shape.layers:
            return []
        ahead = np.max([_ratios(trace)[layer + 1 :] for trace in found], axis=0)
        distance = np.arange(1, len(ahead) + 1)[:, None]
        priority = np.where(ahead > 0, (ahead + EPSILON) * (1 - distance / self._shape.layers), 0.0).ravel()
        order = np.argsort(-priority, kind="stable")[:most]
        return [
            Hint(1.0 - float(priority[i]), layer + 1 + int(i) // self._shape.experts, int(i) % self._shape.experts)
            for i in order
            if priority[i] > 0
        ]

    def scores(self) -> list[float]:
        """How much each expert (by id) deserves its slot: activation ratio so far, earlier layers first.

        Earlier layers have less time to be prefetched, so the ratio is weighed by `1 - layer / layers`.
        """
        if self._scores is None:
            shape = (self._shape.layers, self._shape.experts)
            total = np.sum(self.matrices, axis=0) if self.matrices else np.zeros(shape)
            weight = 1 - np.arange(self._shape.layers)[:, None] / self._shape.layers
            self._scores = ((_ratios(total) + EPSILON) * weight).ravel().tolist()
        return self._scores


class ActivationAware(Roster):
    """Evicts the expert with the lowest score; what is hinted goes last, and for a demand only.

    A prefetch takes the slot only of an expert that deserves it less than what is prefetched: both are ratios
    weighed by layers, so they compare.
    """

    def __init__(self, scores: Callable[[], list[float]]) -> None:
        super().__init__()
        self._scores = scores

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the evictable expert with the lowest score, None for a prefetch of lower priority."""
        scores = self._scores()
        free = [expert for expert in self._order if expert not in held and evictable(expert)]
        if not free and order.kind == DEMAND:
            free = [expert for expert in self._order if evictable(expert)]
        least = min(free, key=scores.__getitem__, default=None)
        if least is None or order.kind == DEMAND or scores[least] < 1.0 - order.urgency:
            return least
        return None


def _unit(row: Matrix) -> Matrix:
    length = float(np.linalg.norm(row))
    return row / length if length else row


def _ratios(matrix: Matrix) -> Matrix:
    """Share of each layer's activations that went to each expert."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares: Matrix = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    return shares
