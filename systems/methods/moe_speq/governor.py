"""MoE-SpeQ's governor: how many tokens to draft, from its amortisation roofline (arXiv 2511.14102, section 3.4).

    theta(k) = k_accept(k) / T_cycle(k)                                                   Eq. 2
    k_accept(k) = sum over i <= k of the product over j <= i of p_j
    T_cycle(k) = max(T_draft(k), T_init) + T_new(k) + T_verify(k + 1)                     Eq. 3
    T_draft(k) = T_base + k T_token
    T_new(k) = T_overhead + |E_new(k)| S_expert / B
    k* = argmax of theta(k) over k_min <= k <= k_SLO                                      Eq. 4, 5

Ours differs where the paper's leaves out what counts. The token that the target adds to every step is committed, too.
A verification reads k + 1 positions, so that |E_new| is that of k + 1: the unseen position misses as many as one more
draft would name. Transfers overlap with the drafting, layer by layer, and with the verification itself; only what is
longer than these is waited for. k = 0, plain decoding, is allowed. And a length that has been tried takes what
it took: the warm-up tries every length in turn, and the roofline speaks for those that nobody has tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from systems.policies.draft_lengths import DraftGovernor

SMOOTHING = 0.1
"""Weight of a new observation in the moving averages."""
SLOW = 0.02
"""That of a cycle's time, which varies with what its tokens miss: lengths are told apart by means of many cycles."""
PROBE = 32
"""Steps after which a neighbour of the best length is tried."""
WORTH = 0.9
"""It is, where it is expected to lose no more than a tenth: 0.3 % of the time at one step in 32."""


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


class Roofline(DraftGovernor):
    """Chooses the draft length of every step by the roofline, for any drafter.

    Args:
        longest: the largest k that may be chosen.
        latency: bound on a cycle in seconds (the paper bounds the time to the first token); None: no bound.
        named: asked after a step for the missing experts that its first 1, 2, ... drafts named, cumulated; nothing
            where drafts name no experts.
    """

    def __init__(
        self,
        costs: CycleCosts,
        longest: int,
        latency: float | None = None,
        named: Callable[[], Sequence[int]] = lambda: (),
    ) -> None:
        self._costs, self._latency, self._longest, self._named = costs, latency, longest, named
        self.chances = [0.8] * longest
        """p_j: chance that draft j is accepted when all before it were."""
        self.fresh = [0.0] * (longest + 1)
        """|E_new(k)|: experts that the first k drafts name and that are missing."""
        self.taken = [0.0] * (longest + 1)
        """Measured seconds of a cycle by k; 0 where it has not been tried."""
        self._seen, self._tried = [0] * longest, [0] * (longest + 1)
        self._learning, self._turn, self._steps = False, -1, 0

    def learn(self, on: bool) -> None:
        """While the warm-up runs, every length is tried in turn."""
        self._learning = on

    def accepted_tokens(self, k: int) -> float:
        """k_accept(k)."""
        total, chance = 0.0, 1.0
        for p in self.chances[:k]:
            chance *= p
            total += chance
        return total

    def roofline(self, k: int) -> float:
        """T_cycle(k) in seconds as the costs have it."""
        costs = self._costs
        drafting = max(costs.draft_base + k * costs.draft_token, costs.first_fetch) if k else 0.0
        verifying = costs.verify(k + 1)
        fetching = costs.overhead + self._missing(k + 1) * costs.transfer
        beside = k * costs.draft_token + verifying
        return drafting + verifying + max(fetching - beside, 0.0)

    def cycle_time(self, k: int) -> float:
        """T_cycle(k) in seconds: measured, or the roofline, off by as much as at the nearest length that was tried."""
        if self._tried[k]:
            return self.taken[k]
        tried = [length for length, count in enumerate(self._tried) if count]
        if not tried:
            return self.roofline(k)
        nearest = min(tried, key=lambda length: abs(length - k))
        return self.roofline(k) * self.taken[nearest] / self.roofline(nearest)

    def theta(self, k: int) -> float:
        """Tokens per second of a cycle that drafts k tokens, the target's own token included."""
        return (self.accepted_tokens(k) + 1.0) / self.cycle_time(k)

    def best(self) -> int:
        """Return k*; of equals the shortest."""
        lengths = range(self._longest + 1)
        bounded = [k for k in lengths if self._latency is None or self.cycle_time(k) <= self._latency]
        return max(bounded or [0], key=lambda k: (self.theta(k), -k))

    def choose(self) -> int:
        """Return the length of the next step: k*, and now and then a neighbour that is almost as good, which may have
        become better."""
        if self._learning:
            self._turn = (self._turn + 1) % (self._longest + 1)
            return self._turn
        best = self.best()
        self._steps += 1
        if self._steps % PROBE == 0:
            beside = [k for k in (best - 1, best + 1) if 0 <= k <= self._longest]
            other = max(beside, key=self.theta)
            if self.theta(other) >= WORTH * self.theta(best):
                return other
        return best

    def describe(self) -> dict[str, object]:
        """The roofline as it stands: expected theta (tokens/s) by draft length, acceptance chances, and k*."""
        return {
            "theta_predicted": {str(k): round(self.theta(k), 3) for k in range(self._longest + 1)},
            "acceptance_chances": [round(chance, 3) for chance in self.chances],
            "draft_length_chosen": self.best(),
        }

    def observe(self, drafted: Sequence[int], accepted: Sequence[int], seconds: float) -> None:
        """Learn from a step; of a batch, its length is that of the longest draft."""
        for most, count in zip(drafted, accepted, strict=True):
            for place in range(min(count + 1, most)):
                self._average_chance(place, float(place < count))
        length = max(drafted)
        for place, experts in enumerate(self._named()[:length], start=1):
            self.fresh[place] += SMOOTHING * (experts - self.fresh[place])
        for longer in range(length + 1, self._longest + 1):
            self.fresh[longer] = max(self.fresh[longer], self.fresh[length])
        self._tried[length] += 1
        weight = max(SLOW, 1.0 / self._tried[length])
        self.taken[length] += weight * (seconds - self.taken[length])

    def _missing(self, positions: int) -> float:
        """Missing experts that so many positions need: of one more than the longest draft, another increment."""
        fresh = self.fresh
        return fresh[positions] if positions <= self._longest else 2 * fresh[-1] - fresh[-2]

    def _average_chance(self, place: int, outcome: float) -> None:
        """Mean over the first observations (warm-up), moving average from then on."""
        self._seen[place] += 1
        weight = max(SMOOTHING, 1.0 / (self._seen[place] + 1))
        self.chances[place] += weight * (outcome - self.chances[place])
