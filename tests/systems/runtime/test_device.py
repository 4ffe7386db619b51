"""What systems leave on a device and what they say of it: memory, threads, times. `fake_cuda` stands in for it."""

from __future__ import annotations

import gc
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from harness.measure.meter import RecordingMeter
from systems.api import BadInput, NullMeter, build_system, watch_transfers
from systems.compose import calibration, live, resident
from systems.compose.resident import recorded_parts, resident_experts
from systems.contract.traffic import Transfer
from systems.replay.record import record
from systems.runtime import cuda
from systems.runtime.pair import Pair
from systems.store import page_lock
from systems.store.page_lock import PageLock, aligned, chunks
from systems.store.slots import LayerSlots
from systems.store.store import RamStore
from tests.systems.runtime.fake_cuda import FakeCuda, install
from tests.systems.test_exactness import copies
from tests.systems.tiny import COSTS, SYSTEMS, make_pair, requests, save_draft, save_target, save_tokenizer


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    sim = FakeCuda(1)
    install(monkeypatch, sim)
    return sim


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "cuda:x", "foo", "mps"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(BadInput, match=f"`model.device` is '{name}'; here are: cpu"):
        cuda.require(name)
    cuda.require("cpu")


def test_devices_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1"):
        cuda.require(name)
    with pytest.raises(BadInput, match="here are: cpu, cuda:0, cuda:1, cuda"):
        cuda.require("cuda:2")


@pytest.fixture
def own_pair(tmp_path: Path) -> Any:
    pair = make_pair(tmp_path)
    yield pair
    pair.close()


def tokens(pair: Pair, name: str = "offload") -> list[list[int]]:
    system = build_system(SYSTEMS[name], pair, copies(SYSTEMS[name], pair) + 8 * pair.record_bytes, None, COSTS)
    meter = NullMeter([8])
    system.generate(requests(1, 8), meter)
    system.close()
    return meter.tokens


def links() -> int:
    return sum(thread.name == "expert-link" for thread in threading.enumerate())


def test_a_closed_store_leaves_no_memory_locked(sim: FakeCuda, own_pair: Pair) -> None:
    tokens(own_pair)
    assert sim.registered, "or nothing was locked to begin with"
    tokens(own_pair, "sp_moe")
    own_pair.close()
    assert not sim.registered


def test_a_store_that_nobody_closes_unlocks_its_memory(sim: FakeCuda, tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    tokens(pair)
    pair.store = None  # type: ignore[assignment]
    pair.port.__dict__.clear()
    gc.collect()
    assert not sim.registered


def test_pairs_one_after_the_other_are_read_from_their_own_memory(
    sim: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator gives the second store the address of the first: what was locked for that is not read again."""
    memory: dict[tuple[int, int], torch.Tensor] = {}

    def same(rows: int, row_bytes: int) -> torch.Tensor:
        return memory.setdefault((rows, row_bytes), aligned(rows, row_bytes))

    monkeypatch.setattr("systems.store.store.aligned", same)
    emitted = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        save_draft(folder / "draft", save_target(folder / "target", seed=seed))
        save_tokenizer(folder)
        pair = make_pair(folder)
        emitted.append(tokens(pair))
        with monkeypatch.context() as patch:
            patch.setattr(live.LiveAssembly, "on_device", False)
            assert emitted[-1] == tokens(pair), "as on the host"
        pair.close()
    assert emitted[0] != emitted[1]
    assert not sim.races


def test_memory_is_locked_in_pieces_that_no_record_crosses(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = FakeCuda()
    install(monkeypatch, sim)
    monkeypatch.setattr(page_lock, "CHUNK", 10000)
    assert chunks(5, 4096, 10000) == [(0, 8192), (8192, 8192), (16384, 4096)]
    assert chunks(3, 12288, 10000) == [(0, 3 * 12288)], "a record is one piece at least"
    assert chunks(3, 1000, 10000) == [(0, 3000)], "a row and a page end together nowhere before"
    memory = aligned(5, 4096)
    assert memory.data_ptr() % 4096 == 0
    lock = PageLock(memory)
    assert sum(map(len, sim.registered.values())) == memory.nbytes
    lock.release()
    lock.release()
    assert not sim.registered


def test_memory_that_cannot_be_locked_is_not_locked_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = FakeCuda()
    register = sim.register
    monkeypatch.setattr(sim, "register", lambda at, size, flags: 2 if sim.registered else register(at, size, flags))
    install(monkeypatch, sim)
    monkeypatch.setattr(page_lock, "chunks", lambda rows, row: [(n * row, row) for n in range(rows)])
    forgotten: list[int] = []
    monkeypatch.setattr(page_lock, "_forget_error", lambda: forgotten.append(1))
    with pytest.raises(BadInput, match="ulimit -l"):
        PageLock(aligned(2, 4096))
    assert not sim.registered
    assert forgotten, "the next kernel is not blamed for it"


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_closed_system_frees_its_slots_at_once(name: str, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever still refers to it, and whatever refers in circles: in timed sections nobody collects."""
    monkeypatch.setattr("systems.runtime.timing.draft_token_time", lambda pair, mixer: 1e-3)
    config = SYSTEMS[name]
    gc.collect()
    gc.disable()
    try:
        system: Any = build_system(config, pair, 32 * pair.record_bytes + copies(config, pair), None, COSTS)
        system.generate(requests(1, 3), NullMeter([3]))
        slab = StorageWeakRef(system.cache.slots.slab.untyped_storage())
        assert not slab.expired()
        system.close()
        assert slab.expired()
    finally:
        gc.enable()


def test_recording_leaves_neither_threads_nor_slots(sim: FakeCuda, own_pair: Pair) -> None:
    held = []
    for _ in range(3):
        with recorded_parts(own_pair, SYSTEMS["resident"]) as parts:
            held.append(StorageWeakRef(parts.cache.slots.slab.untyped_storage()))  # type: ignore[attr-defined]
            assert parts.cache.clock.virtual
        del parts
        trace = record(own_pair, {"part": "model", "draft_length": 2}, requests(1, 4))
        assert len(trace.records) == 1
    assert [slab.expired() for slab in held] == [True] * 3
    assert not links()
    assert not sim.races


def test_fewer_slots_than_experts_record_the_same(own_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device that does not hold all experts."""
    whole = record(own_pair, {"part": "none"}, requests(1, 6)).records["0"]
    monkeypatch.setattr(resident, "holds", lambda pair, nbytes: nbytes < 12 * pair.record_bytes / 0.7)
    with recorded_parts(own_pair, SYSTEMS["resident"]) as parts:
        assert len(parts.cache.slots) < 12
    part = record(own_pair, {"part": "none"}, requests(1, 6)).records["0"]
    assert (part.routed == whole.routed).all()
    assert (part.answers == whole.answers).all()


def test_a_failure_in_the_middle_leaves_nothing_in_flight(
    sim: FakeCuda, own_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stops(NullMeter):
        def step(self, *_: Any) -> None:
            raise KeyError("in the middle")

    system = build_system(SYSTEMS["sp_moe"], own_pair, own_pair.draft_bytes + 8 * own_pair.record_bytes, None, COSTS)
    with pytest.raises(KeyError):
        system.generate(requests(1, 8), Stops([8]))
    system.close()
    assert not sim.races
    assert not links()


@pytest.mark.parametrize("waits", [True, False])
def test_copies_in_flight_land_before_their_slots_are_freed(
    waits: bool, sim: FakeCuda, own_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And if they did not, it would be seen."""
    system: Any = build_system(SYSTEMS["offload"], own_pair, 8 * own_pair.record_bytes, None, COSTS)
    sim._eager = 0.0
    system.cache._transport.move([3], [0], 0.0)
    if not waits:
        monkeypatch.setattr(cuda.CudaTransport, "close", lambda self: None)
    system.close()
    assert (sim.races == []) == waits


def test_transfers_are_told_on_the_hosts_clock(sim: FakeCuda, own_pair: Pair) -> None:
    system: Any = build_system(SYSTEMS["offload"], own_pair, 8 * own_pair.record_bytes, None, COSTS)
    heard: list[Transfer] = []
    watch_transfers(system, heard.append)
    begin, meter = system.now_ns() / 1e9, RecordingMeter(["0"], [6])
    system.generate(requests(1, 6), meter)
    system.close()
    moved = sum(report.traffic.moved_bytes for report in meter.reports)
    assert len(heard) * own_pair.record_bytes == moved
    assert all(begin <= transfer.start <= transfer.end <= system.now_ns() / 1e9 for transfer in heard)
    assert all(a.end <= b.start for a, b in pairwise(heard)), "one after the other"


class Told(cuda.CopyDone):
    """Says how long the device waited."""

    def after(self, submitted: Any) -> float:
        return 0.25


def test_exposed_time_is_what_the_device_says(sim: FakeCuda, own_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host waits for a copy while the device still computes: what it measures is no exposure."""
    waits: list[float] = []

    class Listening(NullMeter):
        def attribute(self, name: str, seconds: float) -> None:
            assert name == "transfer"
            waits.append(seconds)

        def span(self, name: Any) -> Any:
            assert name != "transfer", "the host's clock says nothing about it"
            return super().span(name)

    monkeypatch.setattr(cuda, "CopyDone", Told)
    system: Any = build_system(SYSTEMS["offload"], own_pair, 8 * own_pair.record_bytes, None, COSTS)
    system.generate(requests(1, 4), Listening([4]))
    system.close()
    assert waits
    assert set(waits) == {0.25}


def test_a_copy_behind_a_busy_device_is_not_exposed() -> None:
    class At:
        def __init__(self, time: float | None) -> None:
            self.time = time

        def query(self) -> bool:
            return self.time is not None

        def elapsed_time(self, later: Any) -> float:
            return float((later.time - self.time) * 1e3)

    def arrived(time: float) -> cuda.CopyDone:
        device = torch.device("cpu")
        return cuda.CopyDone(At(time - 1), At(time), At(10.0), 1000.0, device)  # type: ignore[arg-type]

    assert arrived(15.0).after(At(12.0)) == 3.0  # type: ignore[arg-type]
    assert arrived(11.0).after(At(12.0)) == 0.0  # type: ignore[arg-type]
    assert arrived(11.0).after(At(None)) is None  # type: ignore[arg-type]
    assert arrived(15.0).times() == (1004.0, 1005.0)


def test_the_link_is_busy_while_it_copies_and_not_while_it_waits(sim: FakeCuda, own_pair: Pair) -> None:
    """A copy that waits for the readers of its slot begins behind them."""
    assert isinstance(own_pair.store, RamStore)
    slots = live.Slots(own_pair.store.shape, own_pair.store.dtype, 1, torch.device("cpu"))
    transport = cuda.CudaTransport(own_pair.store, slots, None)
    sim._eager = 0.0
    transport.released([0])
    (arrival,) = transport.move([3], [0], 0.0)
    stream, begun = sim._streams[-1], arrival._begin  # type: ignore[attr-defined]
    waiting = [behind is not None for _, behind in stream.queue]
    places = [getattr(effect, "__self__", None) for effect, _ in stream.queue]
    assert places.index(begun) > waiting.index(True)
    transport.close()
    assert transport.busy_seconds() == pytest.approx(arrival.times()[1] - arrival.times()[0], abs=1e-6)


def test_transfers_are_timed_to_the_device(sim: FakeCuda, own_pair: Pair) -> None:
    assert isinstance(own_pair.store, RamStore)
    whole, call = cuda.transfer_times(own_pair.store, torch.device("cpu"))
    assert 0 < call <= whole
    assert sim.registered, "from locked memory"


def test_costs_on_a_device_are_those_of_its_link(own_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "transfer_times", lambda store, device: (7.0, 2.0))
    monkeypatch.setattr(calibration, "_layer_times", lambda *_: ({1: 1.0}, {1: 1.0}))
    assert calibration.measure_costs(own_pair, [1], []).transfer < 1.0
    monkeypatch.setattr(own_pair, "device", "cuda:1")
    costs = calibration.measure_costs(own_pair, [1], [])
    assert (costs.transfer, costs.call, costs.block) == (7.0, 2.0, cuda.BLOCK)


def test_one_layers_experts_stand_for_all_where_a_device_does_not_hold_them(
    own_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "holds", lambda pair, nbytes: False)
    made: list[LayerSlots] = []

    class Noted(LayerSlots):
        def __init__(self, shape: Any, dtype: torch.dtype, device: torch.device) -> None:
            super().__init__(shape, dtype, device)
            made.append(self)

    monkeypatch.setattr(resident, "LayerSlots", Noted)
    with resident_experts(own_pair) as mixer:
        (slots,) = made
        assert slots.slab.nbytes == own_pair.expert_bytes // own_pair.num_layers
        assert len(slots) == own_pair.num_layers * own_pair.num_experts
        hidden = torch.randn(2, 32)
        chosen, weights = torch.tensor([[0, 5], [7, 1]]), torch.full((2, 2), 0.5)
        first, last = (
            mixer(layer, hidden, chosen, weights, own_pair.arithmetic) for layer in (0, own_pair.num_layers - 1)
        )
        assert torch.equal(first, last)
        assert first.abs().sum() > 0
