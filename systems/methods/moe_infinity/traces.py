"""Activation matrices of earlier sequences, and which of them a running sequence is like (arXiv 2401.14361).

A sequence's activation matrix counts, per layer and expert, the decoded tokens that it has routed there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from systems.policies.orders import Shape

Matrix: TypeAlias = NDArray[np.float64]
CAPACITY = 1000
"""Matrices that are kept, as in the paper and its released code."""
MATCHES = 3
DISTANCE = 0.35
"""How many of the nearest matrices predict, and beyond which distance none does: what SP-MoE's comparison takes."""
ROUNDS = 20
"""Of k-means at most; it mostly ends before, when nothing moves."""


class Traces:
    """The stored matrices.

    The distance of two matrices is one less the mean over layers of the cosine between their rows, so that neither the
    length of a sequence nor the number of tokens in a layer counts.

    Args:
        capacity: matrices that are kept at most.
        matches: matrices that predict together.
        distance: beyond which a matrix is not like another.

    Attributes:
        counts: `[matrices, layers, experts]`.
    """

    def __init__(
        self, shape: Shape, capacity: int = CAPACITY, matches: int = MATCHES, distance: float = DISTANCE
    ) -> None:
        self.capacity, self.matches, self.distance = capacity, matches, distance
        self.counts: Matrix = np.zeros((0, shape.layers, shape.experts))
        self.units: Matrix = np.zeros((shape.layers, 0, shape.experts))
        """The rows of unit length, by layer."""
        self.prior: Matrix = np.zeros((shape.layers, shape.experts))
        """What is predicted where no matrix is near: the mean of all, as long as those that would have been taken."""

    def __len__(self) -> int:
        return len(self.counts)

    def fill(self, counts: Matrix) -> None:
        """Store these `[matrices, layers, experts]` in place of all others, their representatives where they are too
        many."""
        self._keep(counts if len(counts) <= self.capacity else representatives(counts, self.capacity))

    def add(self, matrix: Matrix) -> None:
        """Store the matrix of a finished sequence; beyond the capacity the one nearest to it makes room."""
        if len(self) < self.capacity:
            self._keep(np.concatenate([self.counts, matrix[None]]))
            return
        likeness = Likeness(self, matrix)
        for layer in range(len(matrix)):
            likeness.counted(layer)
        counts = self.counts.copy()
        counts[int(np.argmax(likeness.cosines))] = matrix
        self._keep(counts)

    def _keep(self, counts: Matrix) -> None:
        self.counts = counts
        self.units = np.ascontiguousarray(_unit(counts).transpose(1, 0, 2))
        self.prior = counts.mean(axis=0) * min(self.matches, len(counts))


class Likeness:
    """How like a running sequence is to each stored matrix.

    When a layer has been counted, only what that layer contributes is worked out anew: one product of the stored rows,
    which have unit length, with the sequence's own.

    Attributes:
        matrix: of the running sequence; whoever changes it says so.
        cosines: sums over the layers that have been counted, one per stored matrix.
    """

    def __init__(self, traces: Traces, matrix: Matrix) -> None:
        self.matrix, self._traces = matrix, traces
        self.cosines: Matrix = np.zeros(len(traces))
        self._by_layer: dict[int, Matrix] = {}
        self._nearest: tuple[int, ...] | None = ()
        """None where it is to be looked for."""

    def counted(self, layer: int) -> None:
        """Tokens were counted in a layer."""
        row = self.matrix[layer]
        length = float(row @ row) ** 0.5
        if not length:
            return
        now: Matrix = self._traces.units[layer] @ row
        now /= length
        self.cosines += now
        if (before := self._by_layer.get(layer)) is not None:
            self.cosines -= before
        self._by_layer[layer] = now
        self._nearest = None

    def nearest(self) -> tuple[int, ...]:
        """Return the numbers of the nearest matrices, the nearest first; none that is too far."""
        if self._nearest is None:
            self._nearest = self._look()
        return self._nearest

    def _look(self) -> tuple[int, ...]:
        few, many = self._traces.matches, len(self._traces)
        found = np.argpartition(self.cosines, many - few)[many - few :] if few < many else np.arange(many)
        least = (1.0 - self._traces.distance) * len(self._by_layer)
        cosines = zip(self.cosines[found].tolist(), found.tolist(), strict=True)
        near = sorted((-cosine, number) for cosine, number in cosines if cosine >= least)
        return tuple(number for _, number in near)


def representatives(counts: Matrix, number: int) -> Matrix:
    """Return the matrices next to the centres of so many clusters: the paper's k-means, of rows of unit length.

    Centres start as far from one another as can be, the first at the mean of all, so that the same matrices always
    give the same clusters.
    """
    points = _unit(counts).reshape(len(counts), -1)
    centres = _spread(points, number)
    nearest = np.full(len(points), -1)
    for _ in range(ROUNDS):
        closest = np.argmax(points @ centres.T, axis=1)
        if np.array_equal(closest, nearest):
            break
        nearest = closest
        for cluster in range(number):
            members = points[nearest == cluster]
            if len(members):
                centres[cluster] = _unit(members.mean(axis=0))
    chosen = {int(np.argmax(np.where(nearest == cluster, points @ centres[cluster], -1.0))) for cluster in set(nearest)}
    found: Matrix = counts[sorted(chosen)]
    return found


def pooled(traces: Traces, numbers: Sequence[int]) -> Matrix:
    """Return the counts of these matrices together, of the prior where there are none."""
    if not numbers:
        return traces.prior
    found: Matrix = traces.counts[list(numbers)].sum(axis=0)
    return found


def _spread(points: Matrix, number: int) -> Matrix:
    """As many points, each as far as can be from those before it."""
    chosen = [int(np.argmax(points @ points.mean(axis=0)))]
    closeness = points @ points[chosen[0]]
    while len(chosen) < number:
        chosen.append(int(np.argmin(closeness)))
        closeness = np.maximum(closeness, points @ points[chosen[-1]])
    found: Matrix = points[chosen].copy()
    return found


def _unit(rows: Matrix) -> Matrix:
    """Rows (the last axis) of unit length; empty ones stay."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: Matrix = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return scaled
