"""A graph of events on lanes, each of which serves one event at a time: when does the last one end?"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Work on a lane (s), once all events of the graph numbered in `after` have ended."""

    lane: str
    seconds: float
    after: tuple[int, ...]


class EventGraph:
    """Events in an order in which each comes behind those it waits for."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def add(self, lane: str, seconds: float, *after: int) -> int:
        """Add an event; return its number.

        Raises:
            ValueError: a negative time, or an event that is not there yet: graphs have no cycles.
        """
        if seconds < 0:
            raise ValueError(f"an event on {lane} takes {seconds} s")
        if any(not 0 <= number < len(self._events) for number in after):
            raise ValueError(f"event {len(self._events)} on {lane} waits for {after}, which are not all there")
        self._events.append(Event(lane, seconds, after))
        return len(self._events) - 1

    def ends(self) -> list[float]:
        """Return when each event ends (s); a lane serves what is ready first, among equals the earlier event."""
        waiting = [len(event.after) for event in self._events]
        followers: dict[int, list[int]] = defaultdict(list)
        for number, event in enumerate(self._events):
            for before in event.after:
                followers[before].append(number)
        ready = [(0.0, number) for number, count in enumerate(waiting) if not count]
        heapq.heapify(ready)
        ends, free = [0.0] * len(self._events), defaultdict[str, float](float)
        while ready:
            since, number = heapq.heappop(ready)
            event = self._events[number]
            if since < free[event.lane]:
                heapq.heappush(ready, (free[event.lane], number))
                continue
            ends[number] = free[event.lane] = since + event.seconds
            for follower in followers[number]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    latest = max(ends[before] for before in self._events[follower].after)
                    heapq.heappush(ready, (latest, follower))
        return ends

    def busy(self, lane: str) -> float:
        """Sum of the times on a lane (s)."""
        return sum(event.seconds for event in self._events if event.lane == lane)
