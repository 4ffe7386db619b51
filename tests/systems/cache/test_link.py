"""Transfers by a thread that copies and over an emulated link: order, lateness, and a worker that dies."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest
import torch

from systems.api import LinkSpec, WorkerDied
from systems.cache import link
from systems.cache.clock import Clock, SkippingClock, VirtualClock, WallClock
from systems.cache.expert_cache import ExpertCache
from systems.cache.ledger import Ledger
from systems.cache.link import Stuck
from systems.cache.occupancy import Occupancy
from systems.cache.transport import CopyingEmulatedLink, Due, HostTransport
from systems.policies.listening import drafted
from systems.policies.orders import Hint, Shape
from systems.policies.residency import LayeredLru, Lru, Residency
from systems.store.checkpoint import ExpertShape
from systems.store.slots import Slots

SHAPE = ExpertShape(layers=(0, 1, 2), experts=4, hidden=8, intermediate=8)
CLOCK = WallClock()
RECORD = SHAPE.record_bytes(torch.float32)


class NumberedStore:
    """Record i is filled with the number i, which takes `seconds`; can be told to fail or to count calls."""

    shape, dtype = SHAPE, torch.float32

    def __init__(self, seconds: float) -> None:
        self.calls: list[list[int]] = []
        self.error: Exception | None = None
        self._seconds = seconds

    def read(self, experts: Sequence[int], into: Sequence[torch.Tensor]) -> None:
        if self.error:
            raise self.error
        self.calls.append(list(experts))
        time.sleep(self._seconds * len(into))
        for expert, buffer in zip(experts, into, strict=True):
            buffer.view(torch.float32).fill_(expert)

    def close(self) -> None:
        pass


class Rig:
    """A cache with its link over a numbered store; one transfer takes `milliseconds`, of this machine's time where the
    clock is, else of an emulated link's."""

    def __init__(
        self,
        slots: int,
        milliseconds: float = 5.0,
        batch_io: int = 1,
        worker: bool = True,
        clock: Clock = CLOCK,
        residency: Residency | None = None,
    ) -> None:
        self.store = NumberedStore(0.0 if clock.skips else milliseconds / 1e3)
        self.slots = Slots(SHAPE, torch.float32, slots, torch.device("cpu"))
        spec = LinkSpec(RECORD / milliseconds * 1e3, 0.0)
        transport = (
            CopyingEmulatedLink(spec, self.store, self.slots, clock)
            if clock.skips
            else HostTransport(self.store, self.slots, clock)
        )
        self.ledger = Ledger(3, RECORD)
        occupancy = Occupancy(self.slots, residency or Lru(), self.ledger)
        self.cache = ExpertCache(occupancy, transport, self.ledger, 4, batch_io, worker)

    def visit(self, layer: int, experts: list[int]) -> list[int]:
        order = []
        for expert, slot in self.cache.visit(layer, dict.fromkeys(experts, 1)):
            assert self.slots.slab[slot, 0] == layer * 4 + expert, "a slot must hold the expert it claims"
            order.append(expert)
        return order


@pytest.fixture
def rigs() -> object:
    made: list[Rig] = []

    def make(*args: object, **kwargs: object) -> Rig:
        made.append(Rig(*args, **kwargs))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for rig in made:
        rig.cache.close()


def test_policies_that_count_needs_hear_how_many_rows_each_expert_computes(rigs: type[Rig]) -> None:
    class Counting(Lru):
        def needed(self, experts: Mapping[int, int]) -> None:
            heard.append(dict(experts))

    heard: list[dict[int, int]] = []
    rig = rigs(4, residency=Counting())
    list(rig.cache.visit(1, {0: 3, 2: 1}))
    rig.cache.enter("prefill")
    list(rig.cache.visit(0, {1: 5}))
    assert heard == [{4: 3, 6: 1}], "prompts stream past, and are nobody's business"


def test_needs_are_classified(rigs: type[Rig]) -> None:
    clock = VirtualClock()
    rig = rigs(slots=8, milliseconds=50, clock=clock)
    assert rig.visit(0, [0, 1]) == [0, 1]
    rig.cache.prefetch(1, [2])
    clock.spend(0.1)
    rig.cache.prefetch(1, [3])
    rig.cache.prefetch(1, [0])
    rig.cache.prefetch(2, [0])
    assert rig.visit(1, [0, 1, 2, 3])[0] == 2
    rig.visit(0, [0])
    rig.cache.end_generation()
    report = rig.cache.take_traffic()
    assert [(n.needed, n.resident, n.on_time, n.late, n.demand, n.overtaken) for n in report.layers] == [
        (3, 1, 0, 0, 2, 0),
        (4, 0, 1, 1, 2, 1),  # 3 was on its way, 0 only queued behind it
        (0, 0, 0, 0, 0, 0),
    ]
    moved = report.demand_bytes + report.useful_bytes + report.late_bytes + report.wasted_bytes
    assert report.moved_bytes == moved
    assert report.prefetched * RECORD == report.useful_bytes + report.late_bytes + report.wasted_bytes
    assert report.wasted_bytes + report.cancelled * RECORD == RECORD, "expert 0 of layer 2 was moved or cancelled"


def test_what_was_named_is_covered_even_if_it_has_not_come(rigs: type[Rig]) -> None:
    """Of three needs one is named and on its way, one was named and has been evicted again, and one nobody has named.
    A step later nothing is named any more."""
    rig = rigs(slots=2, milliseconds=10, clock=VirtualClock())
    clock = rig.cache.clock
    rig.cache.prefetch(1, [1])
    clock.wait(clock.now() + 0.02)
    rig.visit(0, [0, 1])
    rig.visit(0, [2, 3])
    assert 5 not in rig.slots.residents, "demands have taken both slots"
    rig.cache.take_traffic()
    rig.cache.prefetch(1, [0])
    clock.wait(clock.now() + 0.005)
    rig.visit(1, [0, 1, 2])
    layer = rig.cache.take_traffic().layers[1]
    assert (layer.needed, layer.foretold, layer.covered, layer.resident + layer.on_time) == (3, 3, 2, 0)
    rig.cache.end_step()
    rig.visit(0, [0, 1])
    rig.visit(1, [1])
    assert rig.cache.take_traffic().layers[1].covered == 0


def test_only_what_a_draft_has_read_is_asked_to_be_covered(rigs: type[Rig]) -> None:
    """Two tokens are verified. The first, which the draft has read, needs 0 and 1, the second 1, 2 and 3; 1 and 3 were
    named."""
    assert drafted([[0, 1], [1, 2]], width=1) is None
    read = drafted([[0, 1], [1, 2, 3]], width=2)
    assert read == [0, 1]
    assert drafted([[0, 1], [5, 6], [2, 1], [6, 3]], width=2) == [0, 1, 2], "two rows"
    rig = rigs(slots=8, clock=VirtualClock())
    rig.cache.prefetch(1, [1, 3])
    list(rig.cache.visit(1, {0: 1, 1: 2, 2: 1, 3: 1}, read))
    layer = rig.cache.take_traffic().layers[1]
    assert (layer.needed, layer.foretold, layer.covered) == (4, 2, 1)


class SlowHints(list[Hint]):
    """Take 20 ms of this machine to be read."""

    def __iter__(self) -> Iterator[Hint]:
        time.sleep(0.02)
        return super().__iter__()


@pytest.mark.parametrize("worker", [True, False])
def test_a_worker_makes_the_orders_of_a_plan_beside_the_computation(rigs: type[Rig], worker: bool) -> None:
    """Without one the computation makes them itself."""
    clock = SkippingClock()
    rig = rigs(slots=1, milliseconds=1, worker=worker, clock=clock)
    before = clock.now()
    assert rig.cache.plan(SlowHints([Hint(0, 1, 2)])) == 1
    assert (clock.now() - before < 0.02) == worker


def test_emulated_transfers_take_the_time_of_the_link_and_none_of_ours(rigs: type[Rig]) -> None:
    clock, began = SkippingClock(), time.perf_counter()
    rig = rigs(slots=4, milliseconds=1000, clock=clock)
    start = clock.now()
    rig.visit(0, [0, 1, 2, 3])
    assert 4.0 <= clock.now() - start < 4.1
    assert time.perf_counter() - began < 1.0
    assert threading.active_count() == 1 or not any(t.name == "expert-link" for t in threading.enumerate())


def test_an_emulated_link_goes_on_while_something_computes(rigs: type[Rig]) -> None:
    """Of two prefetches of 20 ms each, one has arrived after 30 ms of computing, and 10 ms of the other are left."""
    clock = SkippingClock()
    rig = rigs(slots=4, milliseconds=20, clock=clock)
    rig.cache.prefetch(0, [0, 1])
    ordered = clock.now()
    time.sleep(0.03)
    assert rig.visit(0, [0, 1]) == [0, 1]
    assert clock.now() - ordered == pytest.approx(0.04, abs=0.004)


def test_who_waits_lets_others_compute(rigs: type[Rig]) -> None:
    """A wait skips nothing of what another processor computes meanwhile: 30 ms are real, the other 20 are skipped."""
    clock, computing = SkippingClock(), threading.Event()

    def compute() -> None:
        with clock.beside():
            computing.set()
            time.sleep(0.03)

    thread = threading.Thread(target=compute)
    began, start = time.perf_counter(), clock.now()
    thread.start()
    computing.wait()
    clock.wait(start + 0.05)
    assert clock.now() - start == pytest.approx(0.05, abs=0.005)
    assert 0.028 < time.perf_counter() - began < 0.045
    thread.join()


def test_a_stopped_clock_passes_no_time() -> None:
    clock = SkippingClock()
    before = clock.now()
    with clock.stopped():
        time.sleep(0.01)
        assert clock.now() - before < 0.005
        clock.wait(before + 1.0)
        with clock.stopped():
            time.sleep(0.01)
        time.sleep(0.01)
    assert 1.0 <= clock.now() - before < 1.005


def test_nobody_computes_from_what_has_not_arrived(rigs: type[Rig]) -> None:
    """Where nothing is copied only this guard tells a slot that is read too early."""
    rig = rigs(slots=2, milliseconds=50, clock=SkippingClock())
    rig.cache.prefetch(0, [0])
    with pytest.raises(RuntimeError, match="expert 0 is read before it is there"):
        rig.cache.place(0)
    with pytest.raises(RuntimeError, match="expert 7 is read before it is there"):
        rig.cache.place(7)
    rig.visit(0, [0])
    assert rig.cache.place(0) == rig.slots.of[0]


def test_prefetch_runs_beside_the_computation(rigs: type[Rig]) -> None:
    rig = rigs(slots=4, milliseconds=100)
    start = CLOCK.now()
    rig.cache.prefetch(0, [0, 1])
    assert CLOCK.now() - start < 0.1
    time.sleep(0.25)
    waiting = CLOCK.now()
    rig.visit(0, [0, 1])
    assert CLOCK.now() - waiting < 0.1


def test_without_a_worker_prefetch_blocks(rigs: type[Rig]) -> None:
    rig = rigs(slots=4, milliseconds=10, worker=False)
    start = CLOCK.now()
    rig.cache.prefetch(0, [0, 1])
    assert CLOCK.now() - start >= 0.02


def test_demand_overtakes_queued_prefetches(rigs: type[Rig]) -> None:
    rig = rigs(slots=12, milliseconds=50)
    rig.cache.prefetch(1, [0, 1, 2, 3])
    start = CLOCK.now()
    rig.visit(0, [0])
    assert CLOCK.now() - start < 0.2, "it waits for the transfer under way and its own, not for the queue"


def test_more_experts_than_slots(rigs: type[Rig]) -> None:
    rig = rigs(slots=1, milliseconds=1)
    assert sorted(rig.visit(0, [0, 1, 2, 3])) == [0, 1, 2, 3]


@pytest.mark.parametrize("clock", [WallClock(), VirtualClock()])
def test_prefetches_of_any_experts_travel_in_one_call(rigs: type[Rig], clock: Clock) -> None:
    rig = rigs(slots=10, batch_io=4, clock=clock)
    rig.cache.prefetch(2, [3])  # keeps the link busy while the others queue up
    clock.wait(clock.now() + 0.001)
    rig.cache.prefetch(0, [0, 1, 2])
    rig.visit(0, [3])
    clock.wait(clock.now() + 0.05)
    assert [0, 1, 2] not in rig.store.calls, "the layer had passed: what it did not need was withdrawn"
    rig.cache.prefetch(2, [2])
    clock.wait(clock.now() + 0.001)
    rig.cache.prefetch(1, [3, 0])
    rig.cache.prefetch(2, [1])
    clock.wait(clock.now() + 0.05)
    rig.cache.end_step()
    assert rig.store.calls[-1] == [4, 7, 9], "three experts of two layers, by urgency"


def test_a_prefetch_without_a_slot_lets_others_pass(rigs: type[Rig]) -> None:
    """Each layer has two slots. A third expert named for layer 0 finds both spared; layer 1 need not wait for it."""
    rig = rigs(slots=6, milliseconds=1, clock=VirtualClock(), residency=LayeredLru(Shape(3, 4, 6)))
    for layer in range(3):
        rig.visit(layer, [0, 1])
    rig.cache.prefetch(0, [0, 1, 2])
    rig.cache.prefetch(1, [2, 3])
    rig.cache.clock.wait(rig.cache.clock.now() + 0.01)
    rig.cache.end_step()
    assert {expert for expert in rig.slots.residents if expert < 8} == {0, 1, 6, 7}


def test_demands_travel_alone(rigs: type[Rig]) -> None:
    """None waits for another's bytes, adjacent as they may be."""
    rig = rigs(slots=8, milliseconds=1, batch_io=4)
    rig.visit(0, [0, 1, 2])
    assert rig.store.calls == [[0], [1], [2]]


def test_prefetch_never_evicts_what_the_hints_name(rigs: type[Rig]) -> None:
    rig = rigs(slots=2, milliseconds=1)
    rig.cache.prefetch(0, [0, 1])
    time.sleep(0.02)
    rig.cache.prefetch(1, [0, 1])
    time.sleep(0.02)
    assert set(rig.slots.residents) == {0, 1}
    assert rig.visit(0, [0, 1]) == [0, 1]
    time.sleep(0.02)
    assert set(rig.slots.residents) == {4, 5}, "once used, they make room for the next layer"


def test_a_plan_holds_what_it_names_and_lets_go_of_the_rest(rigs: type[Rig]) -> None:
    rig = rigs(slots=2, milliseconds=1)
    rig.cache.prefetch(0, [0, 1])
    time.sleep(0.02)
    rig.cache.plan([Hint(1, 1, 0)], hold=[Hint(0, 0, 0)])
    time.sleep(0.02)
    assert set(rig.slots.residents) == {0, 4}, "the least recent one is held"


@pytest.mark.parametrize("clock", [WallClock(), VirtualClock()])
def test_a_transfer_starts_no_sooner_than_it_has_a_slot(rigs: type[Rig], clock: Clock) -> None:
    """A prefetch that was ordered while the only slot was read travels once that reader is done, not before."""
    rig = rigs(slots=1, milliseconds=40, clock=clock)
    reading = iter(rig.cache.visit(0, {0: 1}))
    next(reading)
    rig.cache.prefetch(1, [0])
    clock.wait(clock.now() + 0.1)
    vacated = clock.now()  # at the earliest: the link's thread may go on before this one does
    assert list(reading) == []
    clock.wait(vacated + 0.01)
    assert rig.visit(1, [0]) == [0]
    assert clock.now() - vacated > 0.039


def _read_while_prefetching(rigs: type[Rig], experts: list[int]) -> tuple[Rig, VirtualClock]:
    """Read both slots for 0.1 s, with prefetches queued for layer 1; the link is free for half of that."""
    clock = VirtualClock()
    rig = rigs(slots=2, milliseconds=40, clock=clock)
    reading = iter(rig.cache.visit(0, {0: 1, 1: 1}))
    next(reading)
    rig.cache.prefetch(1, experts)
    clock.wait(clock.now() + 0.1)
    assert len(list(reading)) == 1
    return rig, clock


def test_a_link_that_falls_free_before_a_slot_does_waits_for_it(rigs: type[Rig]) -> None:
    """Nobody looks at the virtual link between: it must not take the slot for the time when it was read."""
    rig, clock = _read_while_prefetching(rigs, [0])
    vacated = clock.now()
    assert rig.visit(1, [0]) == [0]
    assert clock.now() - vacated > 0.039


def test_what_has_a_slot_travels_while_nobody_looks(rigs: type[Rig]) -> None:
    """On a virtual clock, too: only the first of two prefetches waits for the slots, the second for the link."""
    rig, clock = _read_while_prefetching(rigs, [0, 1])
    clock.wait(clock.now() + 0.1)
    looked = clock.now()
    assert rig.visit(1, [0, 1]) == [0, 1]
    assert clock.now() == looked


def test_a_dead_worker_raises_instead_of_hanging(rigs: type[Rig]) -> None:
    rig = rigs(slots=2)
    rig.store.error = OSError("disk gone")
    with pytest.raises(WorkerDied, match="disk gone") as caught:
        rig.visit(0, [0])
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(WorkerDied):
        rig.cache.prefetch(0, [1])


def test_a_closed_system_is_refused(rigs: type[Rig]) -> None:
    rig = rigs(slots=2)
    rig.cache.close()
    with pytest.raises(WorkerDied, match="the system is closed"):
        rig.visit(0, [0])


def test_a_wait_for_a_slot_that_nobody_vacates_raises(rigs: type[Rig]) -> None:
    """Half a layer is read by someone who never reads on: a demand cannot be served, and the state says why."""
    rig = rigs(slots=2, milliseconds=1)
    reading = iter(rig.cache.visit(0, {0: 1, 1: 1}))
    next(reading)
    with pytest.raises(Stuck, match=r"nothing can move: queued: demand of 4; .* 2 of 2 slots are read"):
        rig.visit(1, [0])


def test_a_transfer_that_never_ends_raises(rigs: type[Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "PATIENCE", 0.2)
    rig, ended = rigs(slots=2), threading.Event()
    read = rig.store.read
    monkeypatch.setattr(rig.store, "read", lambda *call: ended.wait(10) and read(*call))
    with pytest.raises(Stuck, match=r"nothing has moved for .* on their way: \[0\]"):
        rig.visit(0, [0])
    ended.set()


def test_prompts_stream_whatever_is_hinted(rigs: type[Rig]) -> None:
    """Only readers vacate staging slots: a prefetch that nobody reads must not take one."""
    rig = rigs(slots=2, milliseconds=1)
    rig.cache.enter("prefill")
    assert rig.cache.prefetch(2, [0, 1]) == 0
    assert rig.cache.plan([Hint(0, 2, 0), Hint(0, 2, 1)]) == 0
    assert sorted(rig.visit(0, [0, 1, 2])) == [0, 1, 2]


def test_due_is_never_early_and_not_late_by_a_transfer() -> None:
    late = []
    for wait in [0.0002, 0.001, 0.004] * 5:
        at = CLOCK.now() + wait
        Due(at, CLOCK, at).wait()
        late.append(CLOCK.now() - at)
    assert min(late) >= 0
    assert min(late) < 0.001
