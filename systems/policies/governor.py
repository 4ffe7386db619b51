"""MoE-SpeQ's governor: how many tokens to draft, from its amortisation roofline (arXiv 2511.14102, section 3.4).

    theta(k) = k_accept(k) / T_cycle(k)                                                   Eq. 2
    k_accept(k) = sum over i <= k of the product over j <= i of p_j
    T_cycle(k) = max(T_draft(k), T_init) + T_new(k) + T_verify(k + 1)                     Eq. 3
    T_draft(k) = T_base + k T_token
    T_new(k) = T_overhead + |E_new(k)| S_expert / B
    k* = argmax of theta(k) over k_min <= k <= k_SLO                                      Eq. 4, 5

The paper's k_accept leaves out the token that the target adds to every step; it is counted here, since it is committed
too, so that theta is tokens per second and can be held against the measured ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

SMOOTHING = 0.1
"""Weight of a new observation in the moving averages."""


@dataclass(frozen=True, slots=True)
class CycleCosts:
    """Offline profile of a cycle, in seconds.

    Attributes:
        draft_base, draft_token: the line T_draft(k).
        verify: time of a target forward over so many positions, experts resident.
        first_fetch: T_init, the first mandatory fetch.
        overhead, transfer: fixed part of a batch of transfers, and one expert.
    """

    draft_base: float
    draft_token: float
    verify: Callable[[int], float]
    first_fetch: float
    overhead: float
    transfer: float


class Governor:
    """Chooses the draft length of every step.

    Args:
        longest: the largest k that may be chosen.
        latency: bound on a cycle in seconds (the paper bounds the time to the first token); None: no bound.
        shortest: the smallest k.
    """

    def __init__(self, costs: CycleCosts, longest: int, latency: float | None = None, shortest: int = 1) -> None:
        self._costs, self._latency = costs, latency
        self._shortest, self._longest = shortest, longest
        self.chances = [0.8] * longest
        """p_j: chance that draft j is accepted when all before it were."""
        self.fresh = [0.0] * (longest + 1)
        """|E_new(k)|: experts that the first k drafts name and that are missing."""
        self._seen = [0] * longest

    def accepted_tokens(self, k: int) -> float:
        """k_accept(k)."""
        total, chance = 0.0, 1.0
        for p in self.chances[:k]:
            chance *= p
            total += chance
        return total

    def cycle_time(self, k: int) -> float:
        """T_cycle(k) in seconds."""
        costs = self._costs
        drafting = costs.draft_base + k * costs.draft_token
        fetching = costs.overhead + self.fresh[k] * costs.transfer
        return max(drafting, costs.first_fetch) + fetching + costs.verify(k + 1)

    def theta(self, k: int) -> float:
        """Tokens per second of a cycle that drafts k tokens, the target's own token included."""
        return (self.accepted_tokens(k) + 1.0) / self.cycle_time(k)

    def choose(self) -> int:
        """Return k*."""
        lengths = range(self._shortest, self._longest + 1)
        bounded = [k for k in lengths if self._latency is None or self.cycle_time(k) <= self._latency]
        return max(bounded or [self._shortest], key=lambda k: (self.theta(k), -k))

    def describe(self) -> dict[str, object]:
        """The roofline as it stands: predicted theta (tokens/s) by draft length, its acceptance chances, and k*."""
        return {
            "theta_predicted": {str(k): round(self.theta(k), 3) for k in range(1, self._longest + 1)},
            "acceptance_chances": [round(chance, 3) for chance in self.chances],
            "draft_length_chosen": self.choose(),
        }

    def observe(self, drafted: int, accepted: Sequence[int], fresh: Sequence[int]) -> None:
        """Learn from a step.

        Args:
            accepted: per row, how many of `drafted` drafts were accepted.
            fresh: missing experts named by the first 1, 2, ... `drafted` drafts, cumulated.
        """
        for count in accepted:
            for place in range(min(count + 1, drafted)):
                self._average_chance(place, float(place < count))
        for place, experts in enumerate(fresh[:drafted], start=1):
            self.fresh[place] += SMOOTHING * (experts - self.fresh[place])
        for longer in range(drafted + 1, self._longest + 1):
            self.fresh[longer] = max(self.fresh[longer], self.fresh[drafted])

    def _average_chance(self, place: int, outcome: float) -> None:
        """Mean over the first observations (warm-up), moving average from then on."""
        self._seen[place] += 1
        weight = max(SMOOTHING, 1.0 / (self._seen[place] + 1))
        self.chances[place] += weight * (outcome - self.chances[place])
