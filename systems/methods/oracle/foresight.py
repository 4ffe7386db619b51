"""The oracle: follows a rehearsed course and orders what its schedule has next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

from systems.methods.oracle.belady import Future
from systems.methods.oracle.course import Course, Need
from systems.methods.oracle.schedules import NO_FETCHES, Schedule
from systems.policies.hinting import Hinting
from systems.policies.listening import Chosen, Rehearsing


class Time(Protocol):
    """The clock of the run."""

    def now(self) -> float:
        """The time (s)."""

    def stopped(self) -> AbstractContextManager[None]:
        """Within it, what this machine does takes none of the emulated machine's time."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The schedule that a course is served by.

    Attributes:
        seconds: how long the course takes with it, at the measured costs.
        fewest: fetches that no schedule can do without.
    """

    schedule: Schedule
    seconds: float
    fewest: int


class Director(Protocol):
    """Who chooses schedules, and knows what they rest on."""

    transfer: float
    """Seconds per record over the link."""

    def half(self, tokens: int) -> float:
        """Seconds of half a target layer over so many tokens: before its experts, or all of them together."""

    def choose(self, course: Course, residents: Sequence[int]) -> Choice:
        """Return the best schedule for a course that starts with these residents."""


class Foresight(Rehearsing):
    """Knows the course of a generation that was rehearsed. Planning takes none of the clock's time.

    Args:
        residents: owners of the slots, -1 where a slot is empty.
    """

    def __init__(
        self, future: Future, hinting: Hinting, residents: Sequence[int], director: Director, time: Time, experts: int
    ) -> None:
        super().__init__()
        self._future, self._hinting, self._residents, self._experts = future, hinting, residents, experts
        self._director, self._time = director, time
        self._recorded: list[Need] = []
        self._recording = self._following = self._fresh = False
        self._since: float | None = None
        """When drafting began, if no layer has routed since (s)."""
        self._most = 0
        self.fewest = 0
        """Fetches that nobody can do without who knew as much, over all generations that were followed."""
        self.chosen: Counter[str] = Counter()
        """How often each schedule was the best."""

    def rehearse(self) -> None:
        """Record the next generation."""
        self._recorded, self._recording = [], True

    def perform(self, starts: Sequence[Sequence[int]]) -> Sequence[int]:
        """Follow what was recorded in the next generation; return with which of these residents it ends first."""
        self._recording, self._following, self._fresh = False, True, True
        course = Course(self._recorded, self._experts)
        self._future.follow(course, NO_FETCHES)
        if len(starts) == 1 or not self._recorded:
            return starts[0]
        return min(starts, key=lambda start: self._director.choose(course, start).seconds)

    def decoding(self) -> None:
        """Prompts have been read, and some residents gave way to them: schedule all that is left, and order what
        comes first."""
        super().decoding()
        with self._time.stopped():
            if self._following:
                self._schedule()
            self._plan()
        self._since = self._time.now()

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Record a need, or meet it and order what follows."""
        if self._prefill or not (self._recording or self._following):
            return
        with self._time.stopped():
            rows = dict[int, int]()
            for token in chosen:
                for expert in token:
                    rows[expert] = rows.get(expert, 0) + 1
            experts = sorted(rows)
            if self._recording:
                self._record(layer, experts, [rows[expert] for expert in experts], len(chosen))
            if self._following:
                self._future.advance(layer, experts)
                self._plan()

    def end_step(self) -> None:
        """Hints were forgotten; what is needed next was not."""
        with self._time.stopped():
            self._plan()
        self._since = self._time.now()

    def end(self) -> None:
        """What comes next is unknown again."""
        self._following = self._recording = False

    def _record(self, layer: int, experts: Sequence[int], rows: Sequence[int], tokens: int) -> None:
        half = self._director.half(tokens)
        before = half if self._since is None else max(self._time.now() - self._since, half)
        self._since = None
        self._recorded.append(Need(layer, tuple(experts), tuple(rows), before, half / len(experts)))

    def _schedule(self) -> None:
        course = Course(self._future.left, self._experts)
        choice = self._director.choose(course, [owner for owner in self._residents if owner >= 0])
        self._future.follow(course, choice.schedule)
        # What the link can carry until hints are next given, and one more, so that it never rests.
        self._most = ceil(course.longest / self._director.transfer) + 1
        self.chosen[choice.schedule.name] += 1
        if self._fresh:  # what joins later only takes slots away
            self.fewest, self._fresh = self.fewest + choice.fewest, False

    def _plan(self) -> None:
        if self._following:
            self._hinting.plan(self._future.hints(self._most))
