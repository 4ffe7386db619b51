"""Where a missing expert is computed: in fast memory after a transfer, or in slow memory at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from systems.contract.costs import HostCosts


class Lane(NamedTuple):
    """Experts of a layer that are in fast memory, to rows, and the seconds that the device takes for each."""

    rows: Mapping[int, int]
    each: float


EMPTY: Final = Lane({}, 0.0)


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
        self, absent: Mapping[int, int], flying: Mapping[int, float], now: float, link_free: float, lane: Lane = EMPTY
    ) -> list[int]:
        """Return the experts to compute where they lie.

        Args:
            absent: experts that cannot be read yet, to rows.
            flying: those of them that are on their way, to when they arrive (s).
            link_free: when the link can carry the next of the others (s).
            lane: what the device computes meanwhile, if some of that may go to the host.
        """
        away, host_ends, others_come = self._missing(absent, flying, now, link_free)
        device_ends = now + lane.each * len(lane.rows)
        for expert in sorted(lane.rows, key=lambda expert: (lane.rows[expert], expert)):
            longer, shorter = host_ends + self.host.at(lane.rows[expert]), device_ends - lane.each
            if max(longer, shorter, others_come) >= max(host_ends, device_ends, others_come):
                break
            away.append(expert)
            host_ends, device_ends = longer, shorter
        return away

    def _missing(
        self, absent: Mapping[int, int], flying: Mapping[int, float], now: float, link_free: float
    ) -> tuple[list[int], float, float]:
        """Return the missing experts to compute where they lie, when the host has done so, and when the others are
        there."""
        if not absent:
            return [], now, now
        # First those that would cost a transfer, fewest rows first; of those on their way, who arrives last.
        order = sorted(absent, key=lambda expert: (-flying.get(expert, float("inf")), absent[expert], expert))
        fetched = len(absent) - len(flying)
        arrives = [flying[expert] for expert in order[fetched:]]
        starts = max(now, link_free)
        best = come = _ends(starts, fetched * self.transfer, arrives)
        chosen, done, host_ends = 0, now, now
        for count, expert in enumerate(order, start=1):
            done += self.host.at(absent[expert])
            left = max(fetched - count, 0)
            others = _ends(starts, left * self.transfer, arrives[max(count - fetched, 0) :])
            if max(done, others) < best:
                best, chosen, host_ends, come = max(done, others), count, done, others
        return order[:chosen], host_ends, come


def _ends(starts: float, carrying: float, arrives: list[float]) -> float:
    """When the last of what is carried and of what is on its way is there."""
    last = arrives[0] if arrives else 0.0
    return max(starts + carrying, last) if carrying else last
