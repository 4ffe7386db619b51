"""Layers of 1 s, transfers of 2 s, four layers of four experts, two slots: what is fetched, and what is not."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from systems.methods.arbiter.arbitration import Arbiter
from systems.methods.arbiter.value import Value
from systems.policies.hinting import LinkedCache
from systems.policies.orders import Shape

SHAPE = Shape(layers=4, experts=4, slots=2)
TRANSFER = 2.0


class Handmade(LinkedCache):
    """A cache that notes what is ordered; each order takes the link for a transfer."""

    def __init__(self, value: Value, residents: Sequence[int]) -> None:
        self.time = self.free_at = 0.0
        self.residents = set(residents)
        self.ordered: list[int] = []
        for expert in residents:
            value.admitted(expert)

    def prefetch(self, layer: int, experts: Sequence[int]) -> int:
        wanted = [4 * layer + expert for expert in experts if 4 * layer + expert not in self.residents]
        self.ordered += wanted
        self.free_at = max(self.free_at, self.time) + TRANSFER * len(wanted)
        return len(wanted)

    def absent(self, experts: Iterable[int]) -> list[int]:
        return [expert for expert in experts if expert not in self.residents]

    def backlog(self) -> float:
        return max(self.free_at - self.time, 0.0)

    def now(self) -> float:
        return self.time

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()


class Bench:
    """An arbiter that has seen `forwards` of one expert per layer, layers a second apart."""

    def __init__(self, *forwards: Sequence[int], residents: Sequence[int] = (), **options: bool) -> None:
        self.value = Value(SHAPE, (0.5,), True)
        self.cache = Handmade(self.value, residents)
        self.arbiter = Arbiter(self.cache, self.value, SHAPE, TRANSFER, **options)
        self.arbiter.decoding()
        for experts in forwards:
            for layer, expert in enumerate(experts):
                self.layer(layer, expert)
            self.end()

    def layer(self, layer: int, expert: int) -> None:
        self.cache.time += 1.0
        self.value.needed({4 * layer + expert: 1})
        self.arbiter.routed(layer, None, [[expert]])

    def end(self) -> None:
        self.arbiter.end_step()
        self.cache.ordered.clear()
        self.cache.free_at = 0.0


def test_a_hint_that_comes_too_late_is_not_followed() -> None:
    """Behind layer 0, a transfer of two seconds arrives for layer 2, which asks in two, and not for layer 1."""
    bench = Bench([0, 0, 0, 0], promotions=False)
    bench.layer(0, 0)
    assert bench.arbiter.prefetch(1, [1]) == 0
    assert bench.arbiter.prefetch(2, [1, 2]) == 1, "and two of them do not"
    assert bench.arbiter.prefetch(3, [3]) == 0, "the link is taken until layer 2 asks"
    assert bench.cache.ordered == [9]


def test_what_is_hinted_while_drafting_has_the_rest_of_the_draft() -> None:
    """A draft of 20 s before each forward: known once it has been seen often."""
    bench = Bench([0, 0, 0, 0], promotions=False)
    assert bench.arbiter.prefetch(0, [1]) == 0, "nobody knows how long it drafts"
    for _ in range(9):
        bench.cache.time += 19.0
        for layer in range(4):
            bench.layer(layer, 0)
        bench.end()
        bench.arbiter.prefetch(0, [0])
        bench.cache.ordered.clear()
        bench.cache.free_at = 0.0
    assert bench.arbiter.prefetch(0, [1]) == 1


def test_nobody_comes_for_whom_a_better_one_would_go() -> None:
    """Hints have been right half of the time; a resident that is used in every forward is worth more."""
    often = [[0, 0, 0, 0]] * 6
    bench = Bench(*often, residents=[0, 4], promotions=False)
    bench.layer(0, 0)
    assert bench.arbiter.prefetch(3, [2]) == 0
    bench = Bench(*often, residents=[3, 7], promotions=False)
    bench.layer(0, 0)
    assert bench.arbiter.prefetch(3, [2]) == 1, "these two were never used"


def test_hints_are_believed_as_far_as_they_were_right() -> None:
    right, wrong = (Bench([0, 0, 0, 0], residents=[0, 4], promotions=False) for _ in range(2))
    for bench, named in ((right, 1), (wrong, 2)):
        for _ in range(200):
            bench.layer(0, 1)
            bench.arbiter.prefetch(3, [named])
            for layer in (1, 2, 3):
                bench.layer(layer, 1)
            bench.end()
    for bench, wanted in ((right, 1), (wrong, 0)):
        for expert in (0, 4, 1):  # the last one begins another forward
            bench.value.needed({expert: 1})
        bench.arbiter.routed(0, None, [[1]])
        assert bench.arbiter.prefetch(3, [3]) == wanted, "0 and 4 were used before: a quarter of a sure hint's worth"


def test_an_idle_link_fetches_who_is_worth_more_than_somebody_there() -> None:
    bench = Bench([1, 1, 1, 1], [1, 1, 1, 1], residents=[2, 5])
    bench.layer(0, 1)
    assert bench.cache.ordered == [1], "the one with most uses; 2 was never used"
    bench.layer(1, 1)
    assert bench.cache.ordered == [1], "while it travels nobody else does"
    bench = Bench([1, 1, 1, 1], [1, 1, 1, 1], residents=[1, 5])
    bench.value.evicted(5)
    bench.cache.residents = {1}
    bench.layer(0, 1)
    assert bench.cache.ordered == [], "1 is worth as much as whoever is absent"


def test_each_of_both_can_be_switched_off() -> None:
    bench = Bench([1, 1, 1, 1], residents=[2, 6], hints=False, promotions=False)
    bench.layer(0, 1)
    assert bench.arbiter.prefetch(3, [2]) == 0
    assert bench.cache.ordered == []


def test_prompts_teach_nothing() -> None:
    bench = Bench(residents=[2, 6])
    bench.arbiter.reading(0, [3])
    bench.layer(0, 1)
    assert bench.cache.ordered == []
    assert bench.arbiter.timetable.turn == 0.0
