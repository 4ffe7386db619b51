"""Computing missing experts where they lie, in slow memory, instead of moving them (Fiddler, arXiv 2402.07033)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from systems.cache.clock import Clock
from systems.contract.costs import HostCosts
from systems.policies.placement import EMPTY, Lane, Placement


class Elsewhere:
    """The host's processor: a server beside the device and the link, on the same clock.

    It begins when the router has spoken and takes one expert after the other. On an emulated link its products are
    computed off the clock, and are there when the named host would have them; else they take what they take.

    Args:
        each: what the device takes for one of so many experts with so many rows in all (s), where some that it has may
            be computed here, too; None: only what is missing is.
    """

    def __init__(
        self,
        placement: Placement,
        costs: HostCosts,
        clock: Clock,
        each: Callable[[int, int], float] | None = None,
    ) -> None:
        self._placement, self._costs, self._clock, self._each = placement, costs, clock, each
        self.due = 0.0
        """When the experts that were chosen last are there."""

    def choose(
        self, needed: Mapping[int, int], absent: Mapping[int, int], flying: Mapping[int, float], link_free: float
    ) -> list[int]:
        """Return those of the experts that a layer needs (expert to rows) which are computed here; see
        `Placement.elsewhere`."""
        now, lane = self._clock.now(), EMPTY
        if self._each is not None:
            present = {expert: rows for expert, rows in needed.items() if expert not in absent}
            lane = Lane(present, self._each(sum(needed.values()), len(needed)))
        away = self._placement.elsewhere(absent, flying, now, link_free, lane)
        self.due = now
        for expert in away:
            self.due += self._costs.at(needed[expert])
        return away

    def begin(self) -> None:
        """The products are about to be computed."""
        self._clock.stop()

    def end(self) -> None:
        """They have been."""
        self._clock.go()

    def wait(self) -> None:
        """Block until an emulated host has them."""
        if self._clock.skips:
            self._clock.wait(self.due)
