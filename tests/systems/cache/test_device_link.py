"""What is submitted to a device's copy stream, in which order, and who waits for it; copies land when a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from systems.api import NullMeter, SpanName, WorkerDied
from systems.cache.clock import WallClock
from systems.cache.expert_cache import ExpertCache
from systems.cache.ledger import Ledger
from systems.cache.link import Stuck
from systems.cache.occupancy import Occupancy
from systems.cache.transport import IN_FLIGHT, Arrival, Copy, Transport
from systems.policies.residency import Lru
from systems.store.checkpoint import ExpertShape
from systems.store.slots import Slots

SHAPE = ExpertShape(layers=(0, 1, 2), experts=4, hidden=8, intermediate=8)
BLOCKS = 3


class Block(Arrival):
    """A block on its way; `preceded` says whether the device waits for it."""

    def __init__(self, name: tuple[int, int]) -> None:
        self.name, self.landed, self.preceded = name, threading.Event(), False
        self.exposed: float | None = None

    def done(self) -> bool:
        return self.landed.is_set()

    def wait(self) -> None:
        assert self.landed.wait(10), f"nobody lets {self.name} land"

    def precede(self) -> None:
        self.preceded = True

    def after(self, submitted: Any) -> float | None:
        return self.exposed

    def times(self) -> tuple[float, float]:
        return 0.0, 0.0


class Blocks(Copy):
    """A record in `BLOCKS` blocks."""

    def __init__(self, owner: Device, expert: int) -> None:
        self._owner, self._expert, self._next = owner, expert, 0

    @property
    def complete(self) -> bool:
        return self._next == BLOCKS

    def submit(self) -> Arrival:
        if self._owner.error is not None and threading.current_thread() is not threading.main_thread():
            raise self._owner.error
        block = Block((self._expert, self._next))
        self._next += 1
        self._owner.blocks.append(block)
        return block


class Device(Transport):
    """Keeps what is submitted."""

    asynchronous = True

    def __init__(self) -> None:
        super().__init__(WallClock())
        self.blocks: list[Block] = []
        self.error: Exception | None = None

    @property
    def free_at(self) -> float:
        return 0.0 if all(block.done() for block in self.blocks) else self.clock.now() + 1.0

    def copy(self, expert: int, slot: int) -> Copy:
        return Blocks(self, expert)

    def submitted(self) -> None:
        return None

    def busy_seconds(self) -> float:
        return 0.0


class Rig:
    """A cache in front of the device."""

    def __init__(self, slots: int = 8, worker: bool = True, batch_io: int = 1) -> None:
        self.device = Device()
        ledger = Ledger(3, SHAPE.record_bytes(torch.float32))
        self.slots = Slots(SHAPE, torch.float32, slots, torch.device("cpu"))
        self.cache = ExpertCache(Occupancy(self.slots, Lru(), ledger), self.device, ledger, 4, batch_io, worker)

    @property
    def submitted(self) -> list[tuple[int, int]]:
        return [block.name for block in self.device.blocks]

    def land(self, count: int) -> None:
        """Let the next blocks land, and the thread notice."""
        flying = [block for block in self.device.blocks if not block.done()]
        for block in flying[:count]:
            block.landed.set()

    def land_all(self) -> None:
        """Let whatever is submitted land until nothing is."""
        deadline = time.monotonic() + 10
        while not self.cache.idle() and time.monotonic() < deadline:
            self.land(1)
            time.sleep(1e-3)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.device.error = None
    for block in made.device.blocks:
        block.landed.set()
    made.cache.close()


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(1e-3)
    return holds()


def whole(expert: int) -> list[tuple[int, int]]:
    return [(expert, block) for block in range(BLOCKS)]


def test_of_prefetches_a_few_blocks_are_in_flight_and_the_next_follow_by_themselves(rig: Rig) -> None:
    rig.cache.prefetch(1, [0, 1])
    assert rig.submitted == whole(4)[:IN_FLIGHT]
    rig.land(1)
    assert eventually(lambda: rig.submitted == whole(4)[: IN_FLIGHT + 1])
    rig.land(2)
    assert eventually(lambda: rig.submitted == whole(4) + whole(5)[:IN_FLIGHT])


def test_demands_are_submitted_at_once_and_the_host_waits_for_none(rig: Rig) -> None:
    visit = rig.cache.visit(0, dict.fromkeys([0, 1, 2], 1))
    assert rig.submitted == whole(0) + whole(1) + whole(2)
    assert [expert for expert, _ in visit] == [0, 1, 2], "handed out while nothing has landed"
    assert [block.preceded for block in rig.device.blocks] == [False, False, True] * 3, "by the last block of each"


def test_a_demand_overtakes_what_is_left_of_a_prefetch(rig: Rig) -> None:
    rig.cache.prefetch(2, [0])
    list(rig.cache.visit(0, {3: 1}))
    assert rig.submitted == whole(8)[:IN_FLIGHT] + whole(3)
    rig.land(IN_FLIGHT + BLOCKS)
    assert eventually(lambda: rig.submitted[-1] == (8, 2))


def test_a_prefetch_that_is_needed_is_completed_at_once(rig: Rig) -> None:
    rig.cache.prefetch(1, [0, 1])
    assert [expert for expert, _ in rig.cache.visit(1, {0: 1})] == [0]
    assert rig.submitted == whole(4), "and no more of the other, which waits its turn"
    rig.land_all()
    rig.cache.end_generation()
    report = rig.cache.take_traffic()
    assert (report.layers[1].late, report.layers[1].demand) == (1, 0)


def test_more_experts_than_slots_wait_for_those_that_are_read(rig: Rig) -> None:
    small = Rig(slots=2)
    seen = []
    for expert, _ in small.cache.visit(0, dict.fromkeys(range(4), 1)):
        seen.append(expert)
    assert seen == [0, 1, 2, 3]
    assert small.submitted == [block for expert in range(4) for block in whole(expert)]
    small.land(99)
    small.cache.close()


def test_a_demand_that_waits_for_the_slot_of_a_prefetch_lets_it_arrive() -> None:
    """Of two prefetches admitted together and hardly begun, each in one of the only slots."""
    rig = Rig(slots=2, batch_io=2)
    rig.cache.prefetch(1, [0, 1])
    assert rig.submitted == whole(4)[:IN_FLIGHT]
    visit = rig.cache.visit(0, {0: 1})
    landing = threading.Thread(target=lambda: eventually(lambda: rig.land(1) or (0, 2) in rig.submitted))
    landing.start()
    assert visit.take() == 0
    landing.join()
    assert rig.submitted[:3] == whole(4)
    rig.land(99)
    rig.cache.close()


def test_what_a_device_has_waited_is_told_when_it_knows(rig: Rig) -> None:
    told: list[tuple[SpanName, float]] = []

    class Telling(NullMeter):
        def attribute(self, name: SpanName, seconds: float) -> None:
            told.append((name, seconds))

    rig.cache.meter = Telling([1])
    list(rig.cache.visit(0, dict.fromkeys([0, 1], 1)))
    first, second = rig.device.blocks[BLOCKS - 1], rig.device.blocks[2 * BLOCKS - 1]
    second.exposed = 2.0
    rig.cache.tell_waits()
    assert told == [], "in order"
    first.exposed = 1.0
    rig.cache.tell_waits()
    rig.cache.tell_waits()
    assert told == [("transfer", 1.0), ("transfer", 2.0)]


def test_the_host_waits_for_prefetches_that_nobody_carries_beside_it() -> None:
    rig = Rig(worker=False)
    landing = threading.Thread(target=lambda: eventually(lambda: rig.land(1) or len(rig.submitted) == BLOCKS))
    landing.start()
    assert rig.cache.prefetch(1, [2]) == 1
    landing.join()
    assert rig.submitted == whole(6)
    rig.land(99)
    rig.cache.close()


def test_a_slot_that_nobody_vacates_is_said_and_not_waited_for() -> None:
    rig = Rig(slots=1)
    held = rig.cache.visit(0, {0: 1})
    assert held.take() == 0
    rig.land(99)
    with pytest.raises(Stuck, match=r"queued: demand of 1; .*1 of 1 slots are read"):
        rig.cache.visit(0, {1: 1}).take()
    rig.cache.close()


def test_an_error_of_the_thread_reaches_who_computes(rig: Rig) -> None:
    rig.cache.prefetch(1, [0])
    rig.device.error = RuntimeError("the device is lost")
    rig.land(1)
    assert eventually(lambda: rig.cache._link._failure is not None)  # type: ignore[attr-defined]
    with pytest.raises(WorkerDied, match="the device is lost"):
        rig.cache.visit(0, {0: 1})
