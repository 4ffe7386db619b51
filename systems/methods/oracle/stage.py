"""Where the oracle tries its schedules: the cache of a system and nothing else, on a virtual clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from systems.cache.clock import VirtualClock
from systems.cache.expert_cache import ExpertCache
from systems.contract.costs import Costs
from systems.methods.oracle.belady import Future
from systems.methods.oracle.course import Course
from systems.methods.oracle.foresight import Choice
from systems.methods.oracle.schedules import Host, Schedule, candidates
from systems.policies.orders import Shape


class Stage:
    """Plays a course with every candidate schedule at the measured costs, and keeps the one that ends first.

    Args:
        transfer: seconds per record over the link.
        build: makes a cache that evicts by a future, on a clock.
        host: what missing experts take where they lie; None: they cannot be computed there.
    """

    def __init__(
        self,
        shape: Shape,
        costs: Costs,
        transfer: float,
        host: Host | None,
        build: Callable[[Future, VirtualClock], ExpertCache],
    ) -> None:
        self._shape, self._costs, self._host, self._build = shape, costs, host, build
        self.transfer = transfer

    def half(self, tokens: int) -> float:
        """Seconds of half a target layer over so many tokens."""
        return self._costs.at(self._costs.target_layer, tokens) / 2

    def choose(self, course: Course, residents: Sequence[int]) -> Choice:
        """Return the schedule that ends first, of equals the one that fetches less."""
        shape, best, fewest = self._shape, None, 0
        for schedule in candidates(course, residents, shape.slots, shape.layers, self.transfer, self._host):
            if best is None:
                fewest = len(schedule.fetches)
            seconds = self.play(course, residents, schedule)
            if best is None or (seconds, len(schedule.fetches)) < (best.seconds, len(best.schedule.fetches)):
                best = Choice(schedule, seconds, fewest)
        assert best is not None
        return best

    def play(self, course: Course, residents: Sequence[int], schedule: Schedule) -> float:
        """Return how long a course takes that starts with these residents and an idle link (s)."""
        clock, future = VirtualClock(), Future(self._shape)
        cache = self._build(future, clock)
        cache.install(residents)
        future.follow(course, schedule)
        start = clock.now()
        most = self._shape.slots
        cache.plan(future.hints(most))
        for need in course.needs:
            clock.spend(need.before)
            visit = cache.visit(need.layer, dict(zip(need.experts, need.rows, strict=True)))
            future.advance(need.layer, need.experts)
            cache.plan(future.hints(most))
            while visit.take() >= 0:
                clock.spend(need.each)
        return clock.now() - start
