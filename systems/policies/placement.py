"""Where a missing expert is computed: in fast memory after a transfer, or in slow memory at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from systems.contract.costs import HostCosts


@dataclass(frozen=True, slots=True)
class CpuOptions:
    """`placement.part: cpu`: missing experts may be computed where they lie.

    Attributes:
        token_share: let the host take so much of an expert's transfer for each of its rows, in place of what the
            hardware profile says (Fiddler's released placement reckons 7 : 70); null: what the profile says.
    """

    token_share: float | None = None

    def costs(self, host: HostCosts, transfer: float) -> HostCosts:
        """What the host takes, where a transfer takes `transfer` seconds."""
        if self.token_share is None:
            return host
        return HostCosts(0.0, self.token_share * transfer)


@dataclass(frozen=True, slots=True)
class Placement:
    """Fiddler's choice (arXiv 2402.07033): compute an expert's rows in slow memory, or fetch it first.

    The released code adds both sides' times and takes the split with the least total; here both sides run at
    once, as the paper's text has it, so the split with the earliest end of the later side is taken. What is on its way
    is waited for unless the host has it sooner.

    Attributes:
        host: what the host's processor takes per expert.
        transfer: seconds per expert over the link.
    """

    host: HostCosts
    transfer: float

    def elsewhere(
        self, absent: Mapping[int, int], flying: Mapping[int, float], now: float, link_free: float
    ) -> list[int]:
        """Return the experts to compute where they lie.

        Args:
            absent: experts that cannot be read yet, to rows.
            flying: those of them that are on their way, to when they arrive (s).
            link_free: when the link can carry the next of the others (s).
        """
        if not absent:
            return []
        # First those that would cost a transfer, fewest rows first; of those on their way, who arrives last.
        order = sorted(absent, key=lambda expert: (-flying.get(expert, float("inf")), absent[expert], expert))
        fetched = len(absent) - len(flying)
        arrives = [flying[expert] for expert in order[fetched:]]
        starts = max(now, link_free)
        best, chosen = _ends(starts, fetched * self.transfer, arrives), 0
        done = now
        for count, expert in enumerate(order, start=1):
            done += self.host.at(absent[expert])
            left = max(fetched - count, 0)
            ends = max(done, _ends(starts, left * self.transfer, arrives[max(count - fetched, 0) :]))
            if ends < best:
                best, chosen = ends, count
        return order[:chosen]


def _ends(starts: float, carrying: float, arrives: list[float]) -> float:
    """When the last of what is carried and of what is on its way is there."""
    last = arrives[0] if arrives else 0.0
    return max(starts + carrying, last) if carrying else last
