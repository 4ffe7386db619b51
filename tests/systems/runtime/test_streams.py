"""The real transport, link, cache, drafters and loop on a device's streams: every order that is legal gives the tokens
of plain greedy decoding, and none gives a race. `fake_cuda` says what stands in for the device."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from systems.api import HostCosts, NullMeter, Request, SystemConfig, Unsupported, build_system
from systems.cache import occupancy
from systems.cache.arrivals import Visit
from systems.cache.device_link import DeviceLink
from systems.cache.expert_cache import ExpertCache
from systems.cache.transfers import TransferDesk
from systems.modeling import experts
from systems.modeling.host_experts import HostExperts
from systems.runtime import cuda
from systems.runtime.cuda import BLOCK, BlockCopy, CopyDone, CudaTransport
from systems.runtime.pair import Pair
from systems.store import page_lock
from systems.store.store import RamStore
from tests.systems.runtime.fake_cuda import FakeCuda, install
from tests.systems.test_exactness import copies, plain
from tests.systems.tiny import COSTS, LOSSLESS, SYSTEMS, make_pair, requests

SLOTS = 8
TOKENS = 7
UNSUPPORTED = ("offload_as_released", "sd_offload_as_released", "spec_moe_off", "spec_moe_off_plain")
ON_DEVICE = [name for name in LOSSLESS if name not in UNSUPPORTED]


@pytest.fixture(scope="module")
def device_pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("streams"))


@pytest.fixture(scope="module")
def expected(device_pair: Pair) -> Callable[[Sequence[Request]], list[list[int]]]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(device_pair.config.target, experts_implementation="eager").eval()
    known: dict[Any, list[int]] = {}

    def tokens(batch: Sequence[Request]) -> list[list[int]]:
        for request in batch:
            key = (request.prompt, request.max_new_tokens)
            if key not in known:
                known[key] = plain(model, request)
        return [known[request.prompt, request.max_new_tokens] for request in batch]

    return tokens


@pytest.fixture(autouse=True)
def no_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is timed: a second and a half for a draft's token would be most of the test."""
    monkeypatch.setattr("systems.runtime.timing.draft_token_time", lambda pair, mixer: 1e-3)


def group(batch: int, seed: int) -> list[Request]:
    return [dataclasses.replace(r, max_new_tokens=TOKENS - i) for i, r in enumerate(requests(batch, seed=seed % 5))]


def decode(pair: Pair, config: SystemConfig, batch: Sequence[Request], slots: int = SLOTS) -> list[list[int]]:
    """Build, generate, close, and unlock the store as its own close does."""
    # A host that is nearly as fast as the link, so that both have something to do.
    costs = dataclasses.replace(COSTS, host=HostCosts(0.8 * COSTS.transfer))
    system = build_system(config, pair, copies(config, pair) + slots * pair.record_bytes, None, costs)
    meter = NullMeter([request.max_new_tokens for request in batch])
    try:
        system.rehearse(batch)
        system.generate(batch, meter)
    finally:
        system.close()
    return meter.tokens


def unlock(pair: Pair) -> None:
    store = pair.store
    assert isinstance(store, RamStore)
    if store._lock is not None:
        store._lock.release()
        store._lock = None


def left_over(sim: FakeCuda) -> list[str]:
    """What must not be left when systems and stores are closed."""
    threads = [thread.name for thread in threading.enumerate() if thread.name == "expert-link"]
    return threads + [f"{len(sim.registered)} pieces of locked memory"] * bool(sim.registered)


def device(patch: pytest.MonkeyPatch, seed: int) -> FakeCuda:
    """A device for systems that are built from now on; how eager it is, and how small its blocks, the seed says."""
    sim = FakeCuda(seed, eager=(0.0, 0.2, 0.5)[seed % 3])
    install(patch, sim, (BLOCK, 700)[seed % 2])
    return sim


def check(
    monkeypatch: pytest.MonkeyPatch, pair: Pair, name: str, batch: int, seeds: Sequence[int], expected: Any
) -> dict[int, list[str]]:
    """Decode on schedules; return what is wrong with any."""
    wrong, reads = dict[int, list[str]](), 0
    for seed in seeds:
        found, watched = on_schedule(monkeypatch, pair, name, batch, seed, expected)
        reads += watched
        if found:
            wrong[seed] = found
    assert reads, "kernels read slots, or nothing is watched"
    return wrong


def on_schedule(
    monkeypatch: pytest.MonkeyPatch, pair: Pair, name: str, batch: int, seed: int, expected: Any
) -> tuple[list[str], int]:
    """Decode on one schedule; return what is wrong, and how often kernels have read slots: where the host computes all
    that is missing, there may be nothing to read."""
    with monkeypatch.context() as patch:
        sim = device(patch, seed)
        wanted = group(batch, seed)
        try:
            emitted = decode(pair, SYSTEMS[name], wanted, (SLOTS, 5, 14)[seed % 3])
        finally:
            unlock(pair)
    wrong = sim.races + left_over(sim)
    return wrong + ["other tokens"] * (emitted != expected(wanted)), sim.reads


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ON_DEVICE)
def test_no_schedule_gives_a_race_or_other_tokens(
    name: str, batch: int, device_pair: Pair, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check(monkeypatch, device_pair, name, batch, range(3), expected) == {}


@pytest.mark.nightly
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ON_DEVICE)
def test_no_schedule_of_many_gives_a_race_or_other_tokens(
    name: str, batch: int, device_pair: Pair, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check(monkeypatch, device_pair, name, batch, range(100, 150), expected) == {}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_a_device_does_not_run_is_refused(name: str, device_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    sim = FakeCuda()
    install(monkeypatch, sim)
    with pytest.raises(Unsupported):
        decode(device_pair, SYSTEMS[name], group(1, 0))
    unlock(device_pair)
    assert left_over(sim) == []


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["cpu_compute", "arbiter"])
def test_the_host_computes_beside_the_device(
    name: str, batch: int, device_pair: Pair, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From rows that were copied before anything of their layer was submitted, one of them per token and expert."""
    computed: list[int] = []

    class Counted(HostExperts):
        def arithmetic(self, own: Any) -> Any:
            compute = super().arithmetic(own)

            def counted(rows: torch.Tensor, matrices: Any) -> torch.Tensor:
                if self._place >= self._first:
                    assert torch.equal(self._hidden[self._tokens()], rows)
                    computed.append(len(rows))
                return compute(rows, matrices)

            return counted

    monkeypatch.setattr("systems.modeling.host_experts.HostExperts", Counted)
    assert check(monkeypatch, device_pair, name, batch, [0], expected) == {}
    assert computed


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (700, (1, 768)),
        (17_301_504, (2, 8_650_752)),  # of DeepSeek-V2-Lite, 3 x 2048 x 1408 in bfloat16
        (352_321_536, (21, 16 * 2**20)),  # of Mixtral-8x7B, 3 x 4096 x 14336
        (2 * 16 * 2**20 + 1, (3, 11_184_896)),
    ],
)
def test_the_blocks_of_a_record_are_alike(record: int, expected: tuple[int, int]) -> None:
    assert cuda.blocks(record) == expected
    count, size = expected
    assert (count - 1) * size < record <= count * size
    assert size <= BLOCK


# Mutants: each breaks one thing, and must be found by some schedule.


def _released_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CudaTransport, "released", lambda self, slots: None)


def _released_on_the_copy_stream(patch: pytest.MonkeyPatch) -> None:
    def released(self: CudaTransport, slots: Sequence[int]) -> None:
        event = torch.cuda.Event()
        event.record(self._stream)
        for slot in slots:
            self._free[slot] = event

    patch.setattr(CudaTransport, "released", released)


def _waits_for_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CopyDone, "precede", lambda self: None)


def _is_always_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CopyDone, "done", lambda self: True)


def _enqueues(
    patch: pytest.MonkeyPatch, behind_readers: Callable[[int, int], bool], marked_first: bool = False, shift: int = 0
) -> None:
    def enqueue(self: CudaTransport, expert: int, slot: int, block: int) -> tuple[Any, Any]:
        source = self._store.slab[(expert + shift) % len(self._store.slab)]
        part = slice(block * self._block, (block + 1) * self._block)
        begin, done = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        with torch.cuda.stream(self._stream):
            if behind_readers(block, self._blocks - 1) and (free := self._free[slot]) is not None:
                self._stream.wait_event(free)
            begin.record(self._stream)
            if marked_first:
                done.record(self._stream)
            self._slots.raw[slot][part].copy_(source[part], non_blocking=True)
            if not marked_first:
                done.record(self._stream)
        return begin, done

    patch.setattr(CudaTransport, "enqueue", enqueue)


def _first(block: int, last: int) -> bool:
    return block == 0


def _overwrites_what_is_read(patch: pytest.MonkeyPatch) -> None:
    _enqueues(patch, lambda block, last: False)


def _waits_for_readers_with_the_last_block(patch: pytest.MonkeyPatch) -> None:
    _enqueues(patch, lambda block, last: block == last > 0)


def _marks_the_copy_before_it(patch: pytest.MonkeyPatch) -> None:
    _enqueues(patch, _first, marked_first=True)


def _copies_another_expert(patch: pytest.MonkeyPatch) -> None:
    _enqueues(patch, _first, shift=1)


def _takes_a_block_for_the_record(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BlockCopy, "complete", property(lambda self: self._submitted > 0))


def _copies_while_the_slab_is_zeroed(patch: pytest.MonkeyPatch) -> None:
    made = torch.cuda.Stream

    def stream(device: Any = None) -> Any:
        found = made(device)
        found.wait_stream = lambda other: None  # type: ignore[method-assign]
        return found

    patch.setattr(torch.cuda, "Stream", stream)


def _reads_what_is_on_its_way(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(occupancy, "_has_come", lambda expert, loading: loading.pop(expert, None) is None or True)


def _takes_the_first_without_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExpertCache, "await_any", lambda self, wanted: self._next_of(wanted)[0])


def _lets_go_before_it_reads(patch: pytest.MonkeyPatch) -> None:
    take = Visit.take

    def early(self: Visit) -> int:
        if self._read:
            self._cache.unpin(self._read)
            self._read = []
        return take(self)

    patch.setattr(Visit, "take", early)


def _never_says_that_it_has_read(patch: pytest.MonkeyPatch) -> None:
    def unpin(self: ExpertCache, read: list[int]) -> None:
        with self._guard:
            for expert in read:
                self._occupancy.unpin(expert)
            self._link.wake()

    patch.setattr(ExpertCache, "unpin", unpin)


def _asks_for_all_places_first(patch: pytest.MonkeyPatch) -> None:
    mix = experts.mix
    patch.setattr(experts, "mix", lambda slots, places, *rest: mix(slots, list(places), *rest))


def _notes_arrivals_in_another_order(patch: pytest.MonkeyPatch) -> None:
    note = TransferDesk.note
    held: list[Any] = []

    def late(self: TransferDesk, run: Any, arrivals: list[Any]) -> None:
        held.append(arrivals)
        note(self, run, held[max(0, len(held) - 2)][:1] * len(run))

    patch.setattr(TransferDesk, "note", late)


def _leaves_its_thread(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DeviceLink, "close", lambda self: None)


def _leaves_memory_locked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(page_lock, "_unlock", lambda locked: locked.clear())


def _installs_without_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CudaTransport, "put", lambda self, expert, slot: self.move([expert], [slot], 0.0))


def _drafts_without_saying_so(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ExpertCache, "computed_from", lambda self, read: None)


MUTANTS = {
    _released_nothing: "offload",
    _released_on_the_copy_stream: "offload",
    _waits_for_nothing: "offload",
    _is_always_done: "sp_moe",
    _overwrites_what_is_read: "sp_moe",
    _waits_for_readers_with_the_last_block: "sp_moe",
    _takes_a_block_for_the_record: "sp_moe",
    _marks_the_copy_before_it: "offload",
    _copies_another_expert: "offload",
    _copies_while_the_slab_is_zeroed: "offload",
    _reads_what_is_on_its_way: "sp_moe",
    _takes_the_first_without_waiting: "sd_offload",
    _lets_go_before_it_reads: "sd_offload",
    _never_says_that_it_has_read: "offload",
    _asks_for_all_places_first: "offload",
    _notes_arrivals_in_another_order: "offload",
    _leaves_its_thread: "offload",
    _leaves_memory_locked: "offload",
    _installs_without_waiting: "resident",
    _drafts_without_saying_so: "spec_moe",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__.strip("_"))
def test_what_is_broken_is_found(
    mutant: Any, device_pair: Pair, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any(_finds(mutant, seed, device_pair, expected, monkeypatch) for seed in range(8))


def _finds(mutant: Any, seed: int, pair: Pair, expected: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    with monkeypatch.context() as patch:
        sim = device(patch, seed)
        mutant(patch)
        wanted = group(1, seed)
        try:
            emitted = decode(pair, SYSTEMS[MUTANTS[mutant]], wanted)
        except (RuntimeError, AssertionError):
            return True
        finally:
            unlock(pair)
            left = left_over(sim)
            _end_threads()
    return bool(sim.races or left or emitted != expected(wanted))


def _end_threads() -> None:
    """End the links that a mutant has left."""
    for thread in threading.enumerate():
        if thread.name == "expert-link":
            owner: Any = thread._target.__self__  # type: ignore[attr-defined]
            with owner._lock:
                owner._closed = True
                owner._work.notify_all()
            thread.join()
