"""Which expert is fetched when, and whose slot it takes, by those who know the whole future.

Fewest bytes and least waiting are two aims. Belady's rule (1966) fetches least; the conservative schedule of Cao et al.
(1995) starts each of its fetches as soon as the slot that it takes has served its last reader. Their aggressive
schedule fetches the next missing expert as soon as the link is free, from the resident whose next use is farthest, if
that is later than the need it fetches for: it may fetch more, and wait less. Neither is best everywhere; between them
lie those that fetch only where the resident's next use is later by a `margin` of needs.

Where a missing expert may be computed where it lies, a fetch is only worth its time if it arrives before its need, and
a link too slow for every need is best spent on experts that many needs will use: `Valued`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from systems.methods.oracle.course import Course

Host = Callable[[int], float]
"""Seconds that an expert with so many rows takes where it lies."""
MARGINS = (0.0, 0.5, 2.0, 6.0)
"""How much later than what is fetched a victim's next use must be, in forwards of the target."""
NEAR_MARGINS = (0.0, 0.5, 1.0)
"""The same where the host computes what is missing, so that no fetch is forced."""
HORIZONS = (2, 4, 8, 16)
"""How far uses are counted ahead, in forwards of the target."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """A transfer of a schedule.

    Attributes:
        need: index of the last need that it is meant to serve; later it is not worth its bytes.
        victim: expert id whose slot it takes; None: an empty one.
        freed: index of the last need that reads the victim before; -1: none.
    """

    need: int
    expert: int
    victim: int | None
    freed: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """Fetches in the order in which they cross the link; `apart`: whether experts may be computed where they lie."""

    name: str
    fetches: list[Fetch]
    apart: bool = False


NO_FETCHES = Schedule("none", [], apart=True)


def candidates(
    course: Course, residents: Collection[int], slots: int, layers: int, transfer: float, host: Host | None
) -> Iterator[Schedule]:
    """Yield schedules that serve a course from these residents, the one with the fewest fetches first.

    Args:
        transfer: seconds per record over the link.
        host: what missing experts take where they lie; None: they cannot be computed there.
    """
    yield Schedule("fewest", conservative(course, residents, slots, own=True))
    yield Schedule("conservative", conservative(course, residents, slots))
    for forwards in MARGINS:
        margin = int(forwards * layers)
        timeline: Timeline = Aggressive(course, residents, slots, transfer, None, margin)
        yield Schedule(f"aggressive+{margin}", timeline.run())
    if host is None:
        return
    yield NO_FETCHES
    for forwards in NEAR_MARGINS:
        margin = int(forwards * layers)
        timeline = Aggressive(course, residents, slots, transfer, host, margin)
        yield Schedule(f"aggressive+{margin}, host", timeline.run(), apart=True)
    for horizon in HORIZONS:
        timeline = Valued(course, residents, slots, transfer, host, horizon * layers)
        yield Schedule(f"valued {horizon * layers}, host", timeline.run(), apart=True)


def conservative(course: Course, residents: Iterable[int], slots: int, own: bool = False) -> list[Fetch]:
    """Return Belady's fetches.

    Args:
        own: whether experts of a need that were there, and are read first, may give way to those that it misses. Then
            no schedule has fewer, up to any need; but the link must wait for the readings.
    """
    last_read = dict.fromkeys(residents, -1)
    next_use = {expert: course.next_use(expert, 0) for expert in last_read}
    fetches = list[Fetch]()
    for time, wanted in enumerate(course.ids):
        missing = [expert for expert in wanted if expert not in last_read]
        for expert in wanted:
            if expert in last_read:
                last_read[expert], next_use[expert] = time, course.next_use(expert, time + 1)
        for expert in missing:
            victim, freed = None, -1
            if len(last_read) >= slots:
                spared = () if own else wanted
                # Of equals the first that is free; where a need exceeds all slots, one of its own.
                victim = max(last_read, key=lambda expert: (expert not in spared, next_use[expert], -last_read[expert]))
                freed = last_read.pop(victim)
            fetches.append(Fetch(time, expert, victim, freed))
            last_read[expert], next_use[expert] = time, course.next_use(expert, time + 1)
    return fetches


class Timeline(ABC):
    """A course played in the head, to see what the link does when: one transfer at a time, the computation waits for
    what has not come, and no expert loses its slot while it is read.

    Args:
        residents: experts that have a slot at the start.
        host: None: every missing expert is fetched, at the latest when its layer has routed.
    """

    def __init__(
        self, course: Course, residents: Collection[int], slots: int, transfer: float, host: Host | None
    ) -> None:
        self._course, self._transfer, self._host = course, transfer, host
        self._free = slots - len(residents)
        self._uses = {expert: course.next_use(expert, 0) for expert in residents}
        """Next use of every expert that has a slot; of one that is read, that reading's."""
        self._last_read = dict.fromkeys(residents, -1)
        self._ranked = [(-use, expert) for expert, use in self._uses.items()]
        """A heap of residents, the farthest use first; entries that are no longer true are dropped when met."""
        heapify(self._ranked)
        self._reading: set[int] = set()
        self._arrives: dict[int, float] = {}
        self._now = self._place = 0
        """How many needs have been met or are being met, and the first expert, over all needs, that may be missing."""
        self._flat = [(need, expert) for need, ids in enumerate(course.ids) for expert in ids]
        self._time = self._link_free = 0.0
        self._idle = False
        """Whether there was nothing to fetch, and no need has come and no expert been released since."""
        self._fetches: list[Fetch] = []

    def run(self) -> list[Fetch]:
        """Return the fetches in the order of their start."""
        end = 0.0
        for place, need in enumerate(self._course.needs):
            end = self._visit(place, end + need.before)
        return self._fetches

    @abstractmethod
    def _choose(self) -> tuple[int, int, int | None] | None:
        """Return the last need served, the expert and the victim (None: an empty slot) of the next fetch."""

    def _farthest(self) -> tuple[float, int] | None:
        """The resident that nobody reads with the farthest next use, behind that use."""
        while self._ranked:
            use, expert = self._ranked[0]
            if self._uses.get(expert) == -use and expert not in self._reading:
                return -use, expert
            heappop(self._ranked)
        return None

    def _reachable(self) -> int:
        """Index of the first need that a transfer which starts now arrives for."""
        routed = self._course.routed
        start = routed[self._now - 1] if self._now else -self._course.needs[0].before
        return self._course.after(start + self._transfer, self._now)

    def _missing(self, first: int) -> tuple[int, int] | None:
        """The first need from `first` on with an expert that has no slot, and the expert; `first` never falls."""
        while self._place < len(self._flat):
            need, expert = self._flat[self._place]
            if need >= first and expert not in self._uses and self._last_read.get(expert, -1) != need:
                return need, expert
            self._place += 1
        return None

    def _visit(self, place: int, routed: float) -> float:
        """Meet a need; return when its last expert has been computed."""
        ids, each = self._course.ids[place], self._course.needs[place].each
        self._carry(routed)
        self._now, self._idle = place + 1, False
        absent = {expert for expert in ids if expert not in self._uses or self._arrives.get(expert, 0.0) > routed}
        for expert in ids:
            if expert in self._uses:
                self._reading.add(expert)
                self._last_read[expert] = place
        self._carry(routed)
        here = len(ids) - len(absent)
        done = self._apart(place, absent, routed)
        time = routed + each * here
        self._carry(time)
        for expert in ids:
            if expert not in absent:
                self._release(expert)
        self._carry(time)
        while absent:
            expert = self._first_of(absent, time)
            absent.discard(expert)
            time = max(time, self._arrives[expert]) + each
            self._carry(time)
            self._release(expert)
            self._carry(time)
        return max(time, done)

    def _apart(self, place: int, absent: set[int], routed: float) -> float:
        """Take out of `absent` what the host computes, all that is not on its way and what it has sooner than the link;
        return when it is done."""
        if self._host is None:
            return routed
        done, rows = routed, self._course.needs[place].rows
        for index, expert in enumerate(self._course.ids[place]):
            if expert not in absent:
                continue
            later = done + self._host(rows[index])
            if expert in self._uses and self._arrives[expert] <= later:
                continue
            done = later
            absent.discard(expert)
        return done

    def _first_of(self, absent: set[int], time: float) -> int:
        """The expert that arrives first of those that are waited for."""
        while not (known := [expert for expert in absent if expert in self._uses]):
            self._carry(max(self._link_free, time))
        return min(known, key=lambda expert: self._arrives[expert])

    def _carry(self, until: float) -> None:
        """Start what the link starts until then, as things have stood since the last call."""
        while self._link_free <= until and not self._idle:
            found = self._choose()
            if found is None:
                self._idle = True
            else:
                self._start(*found)
        self._time = max(self._time, until)

    def _start(self, need: int, expert: int, victim: int | None) -> None:
        freed = -1
        if victim is None:
            self._free -= 1
        else:
            del self._uses[victim]
            freed = self._last_read[victim]
        self._fetches.append(Fetch(need, expert, victim, freed))
        self._link_free = max(self._link_free, self._time) + self._transfer
        self._arrives[expert] = self._link_free
        self._last_read[expert] = self._now - 1  # it gives way to nobody before it has come
        if need == self._now - 1:  # its layer waits for it
            self._uses[expert] = need
            self._reading.add(expert)
            return
        self._uses[expert] = self._course.next_use(expert, self._now)
        heappush(self._ranked, (-self._uses[expert], expert))

    def _release(self, expert: int) -> None:
        """An expert has been read, or was computed elsewhere while it travelled."""
        self._reading.discard(expert)
        self._idle = False
        if expert in self._uses:
            self._uses[expert] = self._course.next_use(expert, self._now)
            heappush(self._ranked, (-self._uses[expert], expert))


class Aggressive(Timeline):
    """Fetches the next missing expert as soon as the link is free, if the farthest next use of a resident is later than
    its need by more than `margin` needs. With a host, the next one that it can bring in time."""

    def __init__(
        self, course: Course, residents: Collection[int], slots: int, transfer: float, host: Host | None, margin: int
    ) -> None:
        super().__init__(course, residents, slots, transfer, host)
        self._margin = margin

    def _choose(self) -> tuple[int, int, int | None] | None:
        first = max(self._now - 1, 0) if self._host is None else self._reachable()
        found = self._missing(first)
        if found is None:
            return None
        need, expert = found
        if self._free:
            return need, expert, None
        farthest = self._farthest()
        if farthest is None or (need >= self._now and farthest[0] <= need + self._margin):
            return None
        return need, expert, farthest[1]


class Valued(Timeline):
    """Fetches the expert that is used most within the next `horizon` needs and can be there for, in place of the
    resident that is used least in them, if that saves a use. Of equals, who is used first comes and who is used last
    goes."""

    def __init__(
        self, course: Course, residents: Collection[int], slots: int, transfer: float, host: Host | None, horizon: int
    ) -> None:
        super().__init__(course, residents, slots, transfer, host)
        self._horizon = horizon

    def _choose(self) -> tuple[int, int, int | None] | None:
        counts, last = dict[int, int](), dict[int, int]()
        first = self._reachable()
        for place in range(self._now, min(self._now + self._horizon, len(self._course.ids))):
            for expert in self._course.ids[place]:
                if expert in self._uses or place >= first:
                    counts[expert] = counts.get(expert, 0) + 1
                    last[expert] = place
        absent = [expert for expert in counts if expert not in self._uses]
        if not absent:
            return None
        wanted = max(absent, key=lambda expert: counts[expert])
        if self._free:
            return last[wanted], wanted, None
        victims = [expert for expert in self._uses if expert not in self._reading]
        if not victims:
            return None
        victim = min(victims, key=lambda expert: (counts.get(expert, 0), -self._uses[expert]))
        if counts[wanted] <= counts.get(victim, 0):
            return None
        return last[wanted], wanted, victim
