"""Perfect knowledge: the needs of a whole generation, recorded in a rehearsal, and a schedule that serves them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Mapping, Sequence

from systems.methods.oracle.course import Course, Need
from systems.methods.oracle.schedules import NO_FETCHES, Fetch, Schedule
from systems.policies.orders import DEMAND, Hint, Order, Shape
from systems.policies.residency import Evictable, Roster


class Mismatch(Exception):
    """The run left the course that was rehearsed."""


class Future:
    """The course of a generation, how far it has come, and what is left of the schedule that serves it.

    Attributes:
        now: how many needs have been met or are being met.
        apart: whether missing experts may be computed where they lie.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.follow(Course([], shape.experts), NO_FETCHES)

    def follow(self, course: Course, schedule: Schedule) -> None:
        """A generation of this course starts now, and is served like this."""
        self._course, self.now, self.apart = course, 0, schedule.apart
        self._planned: dict[int, deque[tuple[int, Fetch]]] = {}
        self._waiting: dict[int, list[tuple[int, Fetch]]] = {}
        self._ready: list[tuple[int, Fetch]] = []
        """Fetches, by their place in the schedule, of each expert; those whose slots are still read, by the need that
        reads them last; and those that may start."""
        for entry in enumerate(schedule.fetches):
            fetch = entry[1]
            self._planned.setdefault(fetch.expert, deque()).append(entry)
            if fetch.freed < 0:
                self._ready.append(entry)
            else:
                self._waiting.setdefault(fetch.freed, []).append(entry)

    @property
    def left(self) -> Sequence[Need]:
        """The needs that have not come yet."""
        return self._course.needs[self.now :]

    def advance(self, layer: int, experts: Sequence[int]) -> None:
        """The next need has come.

        Raises:
            Mismatch: it is not the one foreseen.
        """
        needs = self._course.needs
        if self.now >= len(needs) or needs[self.now].layer != layer or needs[self.now].experts != tuple(experts):
            raise Mismatch(f"need {self.now} is layer {layer}, experts {list(experts)}; the rehearsal had another")
        for entry in self._waiting.pop(self.now, ()):
            insort(self._ready, entry, key=_place)
        self.now += 1

    def next_use(self, expert: int, after: int) -> float:
        """Index of the first need of an expert id from `after` on."""
        return self._course.next_use(expert, after)

    def hints(self, most: int) -> list[Hint]:
        """Return the fetches that may start now and have not, in their order, at most `most` of them."""
        found = list[Hint]()
        late = 0
        for place, fetch in self._ready:
            if len(found) == most:
                break
            if fetch.need < self.now:
                late += 1
                continue
            layer, expert = divmod(fetch.expert, self._shape.experts)
            found.append(Hint(place, layer, expert))
        if late:
            self._ready = [entry for entry in self._ready if entry[1].need >= self.now]
        return found

    def planned_victim(self, expert: int) -> int | None:
        """Whose slot the next fetch of an expert id takes."""
        fetches = self._planned.get(expert)
        while fetches and fetches[0][1].need < self.now - 1:
            fetches.popleft()
        return fetches[0][1].victim if fetches else None

    def fetched(self, expert: int) -> None:
        """An expert id has been given a slot: a fetch that could have started has."""
        fetches = self._planned.get(expert)
        if fetches and fetches[0][1].freed < self.now:
            place, _ = fetches.popleft()
            at = bisect_left(self._ready, place, key=_place)
            if at < len(self._ready) and self._ready[at][0] == place:
                del self._ready[at]


def _place(entry: tuple[int, Fetch]) -> int:
    return entry[0]


class Belady(Roster):
    """Evicts as scheduled. What the schedule did not foresee evicts the farthest use, if that is later than its own."""

    def __init__(self, future: Future, slots: int) -> None:
        super().__init__()
        self._future, self._slots = future, slots
        self._counts: dict[int, int] = {}
        self._learning = False

    def admitted(self, expert: int) -> None:
        """Enter, and tell the schedule."""
        super().admitted(expert)
        self._future.fetched(expert)

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the scheduled victim once it may go; where none is scheduled, the farthest use that may.

        A demand waits for its victim, too: at most until those of its layer that are there have been read.
        """
        planned = self._future.planned_victim(order.expert)
        if planned is not None and planned in self._order:
            return planned if planned in evictable else None
        found, farthest = None, -1.0
        if order.kind != DEMAND:
            farthest = self._future.next_use(order.expert, self._future.now)
        for expert in self._order:
            use = self._future.next_use(expert, self._future.now)
            if use > farthest and expert in evictable:
                found, farthest = expert, use
        return found

    def learn(self, on: bool) -> None:
        """Count uses during the warm-up only."""
        self._learning = on

    def needed(self, experts: Mapping[int, int]) -> None:
        """Count, during the warm-up."""
        if self._learning:
            for expert in experts:
                self._counts[expert] = self._counts.get(expert, 0) + 1

    def favourites(self) -> list[int]:
        """The experts that the warm-up used most: what a system may start with that knows no more."""
        return sorted(self._counts, key=lambda expert: -self._counts[expert])[: self._slots]
