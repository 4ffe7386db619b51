"""MoE-Infinity's activation matrices at work (arXiv 2401.14361): prediction, prefetch order and residency.

The decoded tokens of the running sequence are matched with those of earlier ones (`traces.py`); what the
nearest of them used, together with what the sequence itself has used, tells how probably each expert is needed. Prompts
are not counted: they pass nearly all experts, and what they prefer is not what decoding prefers. The released code
(EfficientMoE/MoE-Infinity @d617801) has the calls that predict and prefetch commented out for Mixtral, DeepSeek, NLLB
and Switch and evicts by visit count; this is the mechanism of the paper.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from systems.methods.moe_infinity.traces import Likeness, Matrix, Traces, pooled
from systems.policies.orders import DEMAND, Hint, Order, Shape
from systems.policies.residency import Evictable, Residency

EPSILON = 1e-3
"""Keeps experts of no probability in the order of their layers; the paper's."""
TINY = 1e-9
"""Less than any count that is not zero: the share of nothing in nothing is 0."""


class ActivationMatrices:
    """The matrices of the running sequences, one per row of the batch, and what they predict.

    Args:
        top_k: experts that a token uses in a layer.
        width: tokens of a row in a forward, until one has been seen.
    """

    def __init__(self, shape: Shape, top_k: int, traces: Traces, width: int = 1) -> None:
        self._shape, self._top_k = shape, top_k
        self.layers, self.traces, self.width = shape.layers, traces, width
        self.running: list[Likeness] = []
        self.learning = not len(traces)
        """Whether the warm-up leaves traces; not where they were collected before."""
        self.collecting = False
        """Whether finished sequences are kept as traces now."""
        self._started: list[Matrix] = []
        self._matched: list[tuple[int, ...]] = []
        self._stored: list[Matrix] = []
        """What the matched traces say, per row."""
        self._probable: Matrix = np.zeros((shape.layers, shape.experts))
        self._stale = set(range(shape.layers))
        """Layers whose probabilities are to be worked out anew, and maybe all others: another match predicts them."""
        self._changed = set(range(shape.layers))
        """Layers whose probabilities have changed since the last `changes`."""

    def begin(self, rows: int) -> None:
        """A batch of so many sequences starts."""
        self.running, self._started = [], []
        self.join(rows)

    def join(self, rows: int) -> None:
        """So many sequences come behind the present ones."""
        joining = [np.zeros((self._shape.layers, self._shape.experts)) for _ in range(rows)]
        self.running = [*self.running, *(Likeness(self.traces, matrix) for matrix in joining)]
        self._started += joining
        self._forget()

    def count(self, row: int, layer: int, experts: Sequence[int]) -> None:
        """Decoded tokens of a sequence were routed to these experts, with repetition."""
        running = self.running[row]
        running.matrix[layer] += np.bincount(experts, minlength=self._shape.experts)
        running.counted(layer)
        self._stale.add(layer)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        self.running = [self.running[row] for row in rows]
        self._forget()

    def end(self) -> list[Matrix]:
        """The batch is over: return its matrices, and keep them if they are collected."""
        finished = [matrix for matrix in self._started if matrix.any()]
        if self.collecting:
            for matrix in finished:
                self.traces.add(matrix)
        self.running, self._started = [], []
        return finished

    def probabilities(self) -> Matrix:
        """How probably the next forward needs each expert `[layers, experts]`.

        A token uses `top_k` of a layer's experts, so an expert with the share s of the activations is used by a token
        with the chance `top_k s`, and by one of w tokens with `1 - (1 - top_k s) ** w`.
        """
        if not self._stale or not self.running:
            return self._probable
        for row, running in enumerate(self.running):
            if (matched := running.nearest()) != self._matched[row] or not len(self._stored[row]):
                self._matched[row], self._stored[row] = matched, pooled(self.traces, matched)
                self._stale.update(range(self.layers))
        self._work_out()
        return self._probable

    def changes(self) -> tuple[Matrix, set[int]]:
        """Return the probabilities, and the layers in which they have changed since the last call."""
        found = self.probabilities()
        changed, self._changed = self._changed, set[int]()
        return found, changed

    def _work_out(self) -> None:
        """Work out what is stale: one layer, or the stretch from the first to the last."""
        layers = slice(min(self._stale), max(self._stale) + 1)
        spared: Matrix | float = 1.0
        for stored, running in zip(self._stored, self.running, strict=True):
            counts = stored[layers] + running.matrix[layers]
            totals = np.maximum(np.add.reduce(counts, axis=1, keepdims=True), TINY)
            unused = np.maximum(0.0, 1.0 - counts * self._top_k / totals)
            spared = spared * (unused if self.width == 1 else unused**self.width)
        self._probable[layers] = 1.0 - spared
        self._changed.update(range(layers.start, layers.stop))
        self._stale.clear()

    def _forget(self) -> None:
        """Other rows are there: what was worked out holds no more."""
        self._matched = [() for _ in self.running]
        self._stored = [np.zeros((0, 0)) for _ in self.running]
        self._stale.update(range(self.layers))


class IdleLink:
    """What a prefetch has to be worth.

    A transfer that is fetched ahead saves a fetch if it is needed, costs one if the expert that gives way is, and keeps
    the demands of the next layer waiting for as long as it is still on the link then. In units of one transfer, with
    `room` of them until the next layer asks, the i-th prefetch (from 0) pays when

        p(expert) - p(victim) > p(the next layer misses) min(1, max(0, i + 1 - room))

    Prefetches that would start when the next layer has asked are left to the plan made then.

    Args:
        owners: the expert in each slot, negative where it is free.

    Attributes:
        limit: what the expert that gives way may be worth at most.
    """

    def __init__(self, matrices: ActivationMatrices, shape: Shape, owners: Sequence[int]) -> None:
        self._matrices, self._shape, self._owners = matrices, shape, owners
        self.limit = float("inf")

    def hints(self, layer: int, room: float) -> list[Hint]:
        """Return what is worth to be fetched for the layers behind `layer`, in the order of priority.

        Priority falls linearly with the distance, as in the paper: `(p + epsilon) (1 - distance / layers)`.

        Args:
            room: transfers until the next layer asks.
        """
        probable, owners = self._matrices.probabilities().ravel(), np.array(self._owners, np.intp)
        here = owners[owners >= 0]
        free, residents = len(owners) - len(here), probable[here]
        absent = probable.copy()
        absent[here] = 0.0
        absent = absent[(layer + 1) * self._shape.experts :]
        misses = 1.0 - float(np.multiply.reduce(1.0 - absent[: self._shape.experts]))
        least = 0.0 if free else float(residents.min())
        (worthy,) = (absent > least + self._price(0, room, misses)).nonzero()
        if not len(worthy):
            return []
        return self._chosen(layer, absent, worthy, [0.0] * free + np.sort(residents).tolist(), room, misses)

    def _chosen(
        self, layer: int, absent: Matrix, worthy: NDArray[np.intp], victims: list[float], room: float, misses: float
    ) -> list[Hint]:
        nearness = 1.0 - (worthy // self._shape.experts + 1) / self._shape.layers
        priority = (absent[worthy] + EPSILON) * nearness
        found, self.limit = list[Hint](), float("inf")
        for place in np.argsort(-priority, kind="stable").tolist():
            number = len(found)
            if number >= min(room, len(victims)):
                break
            worth = float(absent[worthy[place]]) - self._price(number, room, misses)
            if worth > victims[number]:
                ahead, expert = divmod(int(worthy[place]), self._shape.experts)
                found.append(Hint(1.0 - float(priority[place]), layer + 1 + ahead, expert))
                self.limit = min(self.limit, worth)
        return found

    def _price(self, number: int, room: float, misses: float) -> float:
        return misses * min(1.0, max(0.0, number + 1 - room))


class ActivationAware(Residency):
    """Evicts the expert that is least probably needed; what is hinted goes last, and for a demand only.

    Args:
        decay: weigh probabilities by `1 - layer / layers` as the paper does, whose later layers are prefetched.
    """

    def __init__(self, matrices: ActivationMatrices, shape: Shape, decay: bool = False) -> None:
        self._matrices, self._experts = matrices, shape.experts
        self.link: IdleLink | None = None
        """Whose prefetches are admitted; None: nobody's are weighed."""
        self._weights = [1 - layer / shape.layers if decay else 1.0 for layer in range(shape.layers)]
        self._scores = [0.0] * (shape.layers * shape.experts)
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
        """Return the evictable expert with the lowest score, None for a prefetch that is worth less than it."""
        self._score()
        least = self._least(evictable, held)
        if order.kind == DEMAND:
            return self._least(evictable, ()) if least is None else least
        if least is None or (self.link is not None and self._scores[least] >= self.link.limit):
            return None
        return least

    def _score(self) -> None:
        probable, changed = self._matrices.changes()
        for layer in changed:
            self._ranked[layer] = None
            start = layer * self._experts
            self._scores[start : start + self._experts] = (probable[layer] * self._weights[layer]).tolist()

    def _least(self, evictable: Evictable, spared: Collection[int]) -> int | None:
        found, lowest, scores = None, float("inf"), self._scores
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
