"""The CUDA side behind the same interfaces; runs where there is a device."""

from __future__ import annotations

import dataclasses
import gc
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from systems.api import BadInput, LinkSpec, NullMeter, build_system, load_pair, measure_costs, record_traces
from systems.methods.moe_speq.quantised import Int4Matrix, quantise
from systems.runtime.pair import Pair
from systems.store.page_lock import is_locked
from systems.store.store import RamStore
from tests.systems.test_exactness import copies
from tests.systems.tiny import COSTS, SYSTEMS, make_pair, requests, save_draft, save_target, save_tokenizer

pytestmark = pytest.mark.cuda


def open_pair(root: Path, device: str = "cuda", dtype: Any = "float32") -> Pair:
    config = dataclasses.replace(make_pair(root).config, device=device, dtype=dtype)
    pair = load_pair(config, root)
    assert isinstance(pair, Pair)
    return pair


@pytest.fixture
def cuda_pair(tmp_path: Path) -> Any:
    torch.backends.cuda.matmul.allow_tf32 = False
    pair = open_pair(tmp_path)
    yield pair
    pair.close()


def tokens(name: str, pair: Pair, batch: int = 1, budget: int | None = None) -> list[list[int]]:
    budget = budget or pair.draft_bytes + 6 * pair.record_bytes
    system = build_system(SYSTEMS[name], pair, budget, None, COSTS)
    meter = NullMeter([24] * batch)
    try:
        system.generate(requests(batch, 24), meter)
    finally:
        system.close()
    return meter.tokens


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", ["offload", "sd_offload", "sp_moe", "adapmoe", "spec_moe", "moe_speq", "oracle"])
def test_tokens_equal_the_resident_system(name: str, batch: int, cuda_pair: Pair) -> None:
    budget = copies(SYSTEMS[name], cuda_pair) + 8 * cuda_pair.record_bytes
    assert tokens(name, cuda_pair, batch, budget) == tokens("resident", cuda_pair, batch)


@pytest.mark.parametrize("device", ["cuda:0", "cuda"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_devices_and_dtypes(device: str, dtype: str, tmp_path: Path) -> None:
    """In 16 bits every kernel rounds, and by its own width: plain decoding runs those of the resident system."""
    pair = open_pair(tmp_path, device, dtype)
    assert tokens("offload", pair) == tokens("resident", pair)
    pair.close()


@pytest.mark.parametrize("group", [32, 64, 128, 256])
@pytest.mark.parametrize(("outputs", "inputs"), [(8, 256), (2816, 2048), (2048, 1536)])
def test_int4_multiplies_by_what_was_packed(outputs: int, inputs: int, group: int) -> None:
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(0)).cuda()
    levels, scales = quantise(weight, group)
    expanded = (levels.view(outputs, -1, group) * scales.to(torch.bfloat16)[..., None]).view(outputs, inputs)
    matrix = Int4Matrix(weight, group)
    assert matrix.nbytes == outputs * inputs // 2 + 4 * outputs * inputs // group
    each = matrix(torch.eye(inputs, dtype=torch.bfloat16, device="cuda"))  # a weight at a time
    assert torch.equal(each.T, expanded.to(torch.bfloat16))
    rows = torch.randn(19, inputs, device="cuda").to(torch.bfloat16)
    product, expected = matrix(rows).float(), rows.float() @ expanded.float().T
    assert (product - expected).norm() < 0.005 * expected.norm()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_int4_decodes_and_moves_nothing(dtype: str, tmp_path: Path) -> None:
    pair = open_pair(tmp_path, dtype=dtype)
    found = tokens("int4", pair, 4, pair.expert_bytes)
    assert [len(emitted) for emitted in found] == [24] * 4
    assert found == tokens("int4", pair, 4, pair.expert_bytes)
    pair.close()


def test_every_slot_holds_the_record_that_it_claims(cuda_pair: Pair) -> None:
    system: Any = build_system(
        SYSTEMS["sp_moe"], cuda_pair, cuda_pair.draft_bytes + 12 * cuda_pair.record_bytes, None, COSTS
    )
    system.generate(requests(3, 16), NullMeter([16] * 3))
    torch.cuda.synchronize()
    slots, store = system.cache.slots, cuda_pair.store
    assert isinstance(store, RamStore)
    for slot, expert in enumerate(slots.owner):
        assert expert < 0 or torch.equal(slots.raw[slot].cpu(), store.record(expert)), expert
    system.close()


def test_the_host_slab_is_page_locked_while_its_store_is_open(cuda_pair: Pair) -> None:
    tokens("offload", cuda_pair)
    slab = cuda_pair.store.slab  # type: ignore[attr-defined]
    assert is_locked(slab.data_ptr())
    cuda_pair.close()
    assert not is_locked(slab.data_ptr())


def test_pairs_one_after_the_other_are_read_from_their_own_memory(tmp_path: Path) -> None:
    emitted = []
    for seed in (0, 1, 0):
        folder = tmp_path / str(seed)
        if not folder.exists():
            save_draft(folder / "draft", save_target(folder / "target", seed=seed))
            save_tokenizer(folder)
        pair = open_pair(folder)
        assert tokens("offload", pair) == tokens("resident", pair)
        emitted.append(tokens("offload", pair))
        pair.close()
        del pair
        gc.collect()
    assert emitted[0] == emitted[2] != emitted[1]


def test_memory_is_given_back_and_no_thread_stays(cuda_pair: Pair) -> None:
    tokens("offload", cuda_pair)  # what libraries allocate once
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for name in ("offload", "sp_moe", "resident"):
        tokens(name, cuda_pair)
    assert torch.cuda.memory_allocated() == before
    assert not [thread for thread in threading.enumerate() if thread.name == "expert-link"]


def test_recording_gives_its_memory_back(cuda_pair: Pair, tmp_path: Path) -> None:
    held = []
    for turn in range(2):
        record_traces(cuda_pair, [SYSTEMS["sp_moe"]], requests(1, 8), COSTS, tmp_path / f"traces{turn}")
        gc.collect()
        held.append(torch.cuda.memory_allocated())
    assert held[0] == held[1]


def test_a_failure_in_the_middle_leaves_the_next_system_right(cuda_pair: Pair) -> None:
    class Stops(NullMeter):
        def step(self, *_: Any) -> None:
            raise KeyError("in the middle")

    budget = cuda_pair.draft_bytes + 8 * cuda_pair.record_bytes
    system = build_system(SYSTEMS["sp_moe"], cuda_pair, budget, None, COSTS)
    with pytest.raises(KeyError):
        system.generate(requests(1, 24), Stops([24]))
    system.close()
    assert tokens("sp_moe", cuda_pair) == tokens("resident", cuda_pair)


def test_costs_are_those_of_the_device(cuda_pair: Pair) -> None:
    costs = measure_costs(cuda_pair, [1], [requests(1)[0].prompt])
    assert 0 < costs.call <= costs.transfer < 1e-2
    assert costs.target_layer[1] > 0


def test_a_paced_link_is_refused(cuda_pair: Pair) -> None:
    with pytest.raises(BadInput, match="hardware=local"):
        build_system(SYSTEMS["offload"], cuda_pair, 6 * cuda_pair.record_bytes, LinkSpec(1e9, 0.0), COSTS)
