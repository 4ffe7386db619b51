"""The cache of MoE-Infinity's released code, which is not its paper's (core/parallel/expert_dispatcher.cpp of
EfficientMoE/MoE-Infinity: `GPUFetchFunc`, `FindExpertEvict`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from systems.policies.orders import Order, Shape
from systems.policies.residency import Evictable, Residency


class VisitCount(Residency):
    """Slots fill with whoever is needed first, over all layers. Once they are full, a forward over one token evicts the
    least visited expert, and one over several tokens evicts nobody: what it misses passes through one slot.

    The code takes several tokens for a prompt, which is not to pollute the cache; a verification has several too. It
    waits for who passes to be computed before it fetches the next, so that these transfers hide under nothing. Visits
    are counted as long as the engine lives.

    Args:
        top_k: experts per token, by which the tokens of a forward are told.
    """

    def __init__(self, shape: Shape, top_k: int) -> None:
        self._slots, self._top_k = shape.slots, top_k
        self._visits = [0] * (shape.layers * shape.experts)
        self._residents: dict[int, None] = {}
        self._several = False
        """Whether the forward computes several tokens."""
        self._passing = -1
        """Who has the slot that the others pass through; the last to be filled."""

    def needed(self, experts: Mapping[int, int]) -> None:
        """Tell how many tokens the forward has."""
        self._several = sum(experts.values()) > self._top_k

    def admitted(self, expert: int) -> None:
        """Enter; who fills the last slot passes."""
        self._residents[expert] = None
        if self._passing < 0 and len(self._residents) == self._slots:
            self._passing = expert

    def used(self, expert: int) -> None:
        """Count a visit."""
        self._visits[expert] += 1

    def evicted(self, expert: int) -> None:
        """Leave."""
        del self._residents[expert]
        if expert == self._passing:
            self._passing = -1

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return who passes, if several tokens are computed, or else the least visited, the oldest of equals."""
        if self._several:
            return self._passing if self._passing >= 0 and self._passing in evictable else None
        candidates = [expert for expert in self._residents if expert in evictable]
        return min(candidates, key=self._visits.__getitem__, default=None)
