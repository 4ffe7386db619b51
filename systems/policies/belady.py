"""Perfect knowledge: the needs of a whole generation, recorded in a rehearsal, decide eviction and prefetch.

Belady's rule (1966) evicts what is needed farthest in the future, which moves the fewest bytes that any policy can
with that many slots. Each of its fetches is started as early as the slot that it takes has served its last
reader: the conservative schedule of Cao et al. (1995), which never pays a byte for being early.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from systems.policies.orders import DEMAND, Hint, Order, Shape
from systems.policies.residency import Evictable, Roster

NEVER = float("inf")


class Mismatch(Exception):
    """The run left the course that was rehearsed."""


@dataclass(frozen=True, slots=True)
class Need:
    """One layer's experts in one forward."""

    layer: int
    experts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """A transfer of the schedule.

    Attributes:
        need: index of the need that it serves.
        victim: expert id whose slot it takes; None: an empty one.
        freed: index of the last need that reads the victim before; -1: none.
    """

    need: int
    expert: int
    victim: int | None
    freed: int


class Future:
    """The needs of a generation in order, how far it has come, and the schedule that serves them."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._needs: Sequence[Need] = ()
        self._times: dict[int, list[int]] = {}
        self._fetches: list[Fetch] = []
        self._first = 0
        self.now = 0
        """How many needs have been met or are being met."""

    def foresee(self, needs: Sequence[Need], residents: Iterable[int]) -> None:
        """Set the needs of the generation that starts now, with these expert ids in fast memory."""
        self._needs, self.now, self._first = needs, 0, 0
        self._times = {}
        for time, need in enumerate(needs):
            for expert in self._ids(need):
                self._times.setdefault(expert, []).append(time)
        self._fetches = self._schedule(dict.fromkeys(residents, -1))

    @property
    def left(self) -> Sequence[Need]:
        """The needs that have not come yet."""
        return self._needs[self.now :]

    def advance(self, layer: int, experts: Sequence[int]) -> None:
        """The next need has come.

        Raises:
            Mismatch: it is not the one foreseen.
        """
        if self.now >= len(self._needs) or self._needs[self.now] != Need(layer, tuple(experts)):
            raise Mismatch(f"need {self.now} is layer {layer}, experts {list(experts)}; the rehearsal had another")
        self.now += 1

    def next_use(self, expert: int, after: int) -> float:
        """Index of the first need of an expert id from `after` on."""
        times = self._times.get(expert, [])
        place = bisect_left(times, after)
        return times[place] if place < len(times) else NEVER

    def hints(self, most: int) -> list[Hint]:
        """Return the fetches that may start now, in the order of need, at most `most` of them."""
        while self._first < len(self._fetches) and self._fetches[self._first].need < self.now:
            self._first += 1
        found = list[Hint]()
        for fetch in self._fetches[self._first : self._first + most]:
            if fetch.freed < self.now:
                layer, expert = divmod(fetch.expert, self._shape.experts)
                found.append(Hint(fetch.need, layer, expert))
        return found

    def planned_victim(self, expert: int) -> int | None:
        """Whose slot the next fetch of an expert id takes."""
        for fetch in self._fetches[self._first :]:
            if fetch.expert == expert:
                return fetch.victim
        return None

    def _ids(self, need: Need) -> list[int]:
        return [need.layer * self._shape.experts + expert for expert in need.experts]

    def _schedule(self, last_read: dict[int, int]) -> list[Fetch]:
        """Belady's fetches, from the residents and the need that last read each."""
        fetches = list[Fetch]()
        next_use = {expert: self.next_use(expert, 0) for expert in last_read}
        for time, need in enumerate(self._needs):
            wanted = self._ids(need)
            following = {expert: self.next_use(expert, time + 1) for expert in wanted}
            next_use |= {expert: following[expert] for expert in wanted if expert in last_read}
            for expert in wanted:
                if expert in last_read:
                    continue
                victim = _farthest(last_read, next_use, wanted) if len(last_read) >= self._shape.slots else None
                freed = last_read.pop(victim) if victim is not None else -1
                fetches.append(Fetch(time, expert, victim, freed))
                last_read[expert], next_use[expert] = time, following[expert]
            for expert in wanted:
                last_read[expert] = time
        return fetches


def _farthest(last_read: dict[int, int], next_use: dict[int, float], wanted: Collection[int]) -> int:
    """The resident with the farthest next use, of equals the first that is free; where a need exceeds all slots, one of
    its own."""
    return max(last_read, key=lambda expert: (expert not in wanted, next_use[expert], -last_read[expert]))


class Belady(Roster):
    """Evicts as scheduled. What the schedule did not foresee evicts the farthest use, if that is later than its own."""

    def __init__(self, future: Future) -> None:
        super().__init__()
        self._future = future

    def victim(self, order: Order, evictable: Evictable, held: Collection[int]) -> int | None:
        """Return the scheduled victim once it may go, else the farthest use that may."""
        planned = self._future.planned_victim(order.expert)
        if planned is not None and planned in self._order:
            if planned in evictable:
                return planned
            if order.kind != DEMAND:
                return None
        found, farthest = None, -1.0
        if order.kind != DEMAND:
            farthest = self._future.next_use(order.expert, self._future.now)
        for expert in self._order:
            use = self._future.next_use(expert, self._future.now)
            if use > farthest and expert in evictable:
                found, farthest = expert, use
        return found
