"""The oracle as a listener: what it records, which start it takes, what it orders."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from systems.methods.oracle.belady import Belady, Future
from systems.methods.oracle.course import Course, Need
from systems.methods.oracle.foresight import Choice, Foresight
from systems.methods.oracle.schedules import Schedule, conservative
from systems.policies.hinting import Hinting, Prefetcher
from systems.policies.orders import Hint, Shape

SHAPE = Shape(layers=2, experts=4, slots=3)
FORWARD: list[list[list[int]]] = [[[0, 1], [1, 2]], [[3, 2], [2, 3]]]
"""Per layer, the experts of two tokens."""


class Clock:
    """Told the time."""

    time = 0.0

    def now(self) -> float:
        return self.time

    def stopped(self) -> AbstractContextManager[None]:
        return nullcontext()


class Orders(Prefetcher):
    """Keeps the last plan."""

    def __init__(self) -> None:
        self.plans: list[list[tuple[int, int]]] = []

    def plan(self, fetch: Sequence[Hint], hold: Sequence[Hint] = ()) -> int:
        self.plans.append([(hint.layer, hint.expert) for hint in fetch])
        return len(fetch)


class Director:
    """Takes Belady's fetches; the more of the first layer's experts are there, the sooner all is done."""

    transfer = 1.0

    def __init__(self) -> None:
        self.asked: list[tuple[Course, list[int]]] = []

    def half(self, tokens: int) -> float:
        return tokens / 2

    def choose(self, course: Course, residents: Sequence[int]) -> Choice:
        self.asked.append((course, list(residents)))
        fetches = conservative(course, residents, SHAPE.slots)
        return Choice(Schedule("belady", fetches), 10.0 - sum(expert < 4 for expert in residents), len(fetches))


class Stand:
    """A foresight with its surroundings, which has rehearsed two forwards behind seven seconds of drafting each."""

    def __init__(self, owners: list[int]) -> None:
        self.clock, self.orders, self.director, self.future = Clock(), Orders(), Director(), Future(SHAPE)
        self.foresight = Foresight(
            self.future, Hinting(self.orders, SHAPE), owners, self.director, self.clock, SHAPE.experts
        )
        self.foresight.rehearse()
        self.generate()

    def generate(self) -> None:
        self.foresight.begin(1)
        self.foresight.reading(0, [4])
        self.forward()
        self.foresight.decoding()
        for _ in range(2):
            self.clock.time += 7.0
            self.forward()
            self.foresight.end_step()
        self.foresight.end()

    def forward(self) -> None:
        for layer, chosen in enumerate(FORWARD):
            self.foresight.routed(layer, None, chosen)
            self.clock.time += 100.0  # waits


def test_a_rehearsal_records_needs_rows_and_times_without_waits_or_prompts() -> None:
    stand = Stand([])
    stand.foresight.perform([[]])
    forward = [Need(0, (0, 1, 2), (1, 2, 1), 7.0, 1 / 3), Need(1, (2, 3), (2, 2), 1.0, 1 / 2)]
    assert list(stand.future.left) == 2 * forward


def test_the_start_is_the_one_that_ends_first() -> None:
    stand = Stand([])
    assert stand.foresight.perform([[4, 5, 6], [0, 4, 5], [6, 7]]) == [0, 4, 5]
    assert stand.foresight.perform([[6, 7]]) == [6, 7]


def test_what_is_scheduled_is_ordered_from_the_residents_that_are_left() -> None:
    """0 and 7, and one empty slot for 1. 2 takes that of 7, which is needed later; the other two come when 0 and 2 have
    been read."""
    stand = Stand([0, 7, -1])
    stand.foresight.perform([[5]])
    stand.orders.plans.clear()
    stand.generate()
    (course, residents), *others = stand.director.asked
    assert (len(course.needs), residents, others) == (4, [0, 7], [])
    assert stand.orders.plans[0] == [(0, 1), (0, 2)]
    assert stand.foresight.chosen == {"belady": 1}
    assert stand.foresight.fewest == len(conservative(course, [0, 7], 3))


def test_a_fetch_that_has_started_is_not_ordered_again() -> None:
    stand = Stand([0, 7, -1])
    policy = Belady(stand.future, SHAPE.slots)
    stand.foresight.perform([[5]])
    stand.foresight.decoding()
    policy.admitted(1)
    stand.foresight.end_step()
    assert stand.orders.plans[-1] == [(0, 2)]
