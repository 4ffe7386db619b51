"""Placement by a schedule that knows the future: none, where it fetches all that is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from systems.methods.oracle.belady import Future
from systems.policies.placement import EMPTY, Lane, Placement


@dataclass(frozen=True, slots=True)
class ScheduledPlacement(Placement):
    """Computes missing experts where they lie while the schedule in force counts on it.

    The schedule has fetched what is worth it; of what is missing, each goes where it is done first.
    """

    future: Future

    def elsewhere(
        self, absent: Mapping[int, int], flying: Mapping[int, float], now: float, link_free: float, lane: Lane = EMPTY
    ) -> list[int]:
        """Return the experts to compute where they lie; see `Placement.elsewhere`."""
        return Placement.elsewhere(self, absent, flying, now, link_free, lane) if self.future.apart else []
