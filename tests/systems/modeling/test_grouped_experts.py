"""Experts in groups, on a device's streams: they are read when they are there, and the tokens are those of the family.

The kernels are stood in for by `by_torch`, which reads and writes what they do; `test_grouped` says that they compute
it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from systems.api import BadInput, Request, load_pair
from systems.cache.arrivals import Visit
from systems.compose import live
from systems.compose.live import LiveAssembly
from systems.operators import grouped
from systems.policies.composition import Composition
from systems.policies.orders import Shape
from systems.runtime.continuation import continued
from systems.runtime.pair import Pair
from systems.store.slots import LayerSlots, Slots
from tests.systems.runtime.fake_cuda import FakeCuda, install
from tests.systems.runtime.test_streams import decode, group, left_over, unlock
from tests.systems.test_exactness import plain
from tests.systems.tiny import COSTS, SYSTEMS, make_pair, save_draft, save_target, save_tokenizer

Tokens = Callable[[Sequence[Request]], list[list[int]]]


def make_grouped(root: Path) -> Pair:
    """A tiny pair whose experts are grouped, though it is loaded on a host."""
    config = dataclasses.replace(make_pair(root).config, operators="stock")  # records lie as on a device
    pair: Any = load_pair(config, root)
    pair.config = dataclasses.replace(config, operators="grouped")
    return pair  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def grouped_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = make_grouped(tmp_path_factory.mktemp("grouped"))
    yield pair
    pair.close()


@pytest.fixture(scope="module")
def expected(grouped_pair: Pair) -> Tokens:
    return by_family(grouped_pair)


def by_family(pair: Pair) -> Tokens:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(pair.config.target, experts_implementation="eager").eval()
    return lambda batch: [plain(model, request) for request in batch]


@pytest.fixture(autouse=True)
def no_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("systems.runtime.timing.draft_token_time", lambda pair, mixer: 1e-3)


def by_torch(
    hidden: Tensor, slab: Tensor, table: Tensor, weights: Tensor, active: Tensor, products: Tensor, mixed: Tensor
) -> None:
    """What the kernels compute."""
    size, inner, top = hidden.shape[1], active.shape[1], len(table) // len(hidden)
    mixed.zero_()
    for pair, (place, entry) in enumerate(table.tolist()):
        if place >= 0:
            both, down = slab[place].split((2 * inner * size, inner * size))
            gate, up = (both.view(-1, size) @ hidden[pair // top]).chunk(2)
            active[pair] = functional.silu(gate) * up
            products[pair] = down.view(size, inner) @ active[pair] * weights.view(-1)[entry]
        if place != grouped.ABSENT:
            mixed[pair // top] += products[pair]


class Device:
    """A device whose kernels are watched.

    Attributes:
        launches: how often they were started.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self.sim = FakeCuda(seed, eager=(0.0, 0.2, 0.5)[seed % 3])
        self.launches = 0
        install(monkeypatch, self.sim)
        slabs: dict[int, int] = {}

        class Known(live.Slots):  # type: ignore[name-defined,misc]
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                slabs[self.slab.data_ptr()] = id(self)

        def launch(hidden: Tensor, slab: Tensor, table: Tensor, *rest: Tensor) -> None:
            self.launches += 1
            for place in {place for place, _ in table.tolist() if place >= 0}:
                self.sim.reading((slabs[slab.data_ptr()], place))
            by_torch(hidden, slab, table, *rest)

        monkeypatch.setattr(live, "Slots", Known)
        monkeypatch.setattr(grouped, "launch", launch)


def wrong(monkeypatch: pytest.MonkeyPatch, pair: Pair, name: str, batch: int, seed: int, expected: Tokens) -> list[str]:
    """Decode on one schedule; return what is wrong."""
    with monkeypatch.context() as patch:
        device = Device(patch, seed)
        wanted = group(batch, seed)
        try:
            emitted = decode(pair, SYSTEMS[name], wanted, (8, 5, 14)[seed % 3])
        finally:
            unlock(pair)
    assert device.launches, "the kernels run, or nothing is watched"
    return device.sim.races + left_over(device.sim) + ["other tokens"] * (emitted != expected(wanted))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["offload", "sp_moe", "adapmoe", "moe_infinity", "resident"])
def test_no_schedule_gives_a_race_or_other_tokens(
    name: str, batch: int, grouped_pair: Pair, expected: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        assert wrong(monkeypatch, grouped_pair, name, batch, seed, expected) == [], f"schedule {seed}"


def _all_in_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Visit, "waves", lambda self: iter([list(self)]))


def _asks_for_the_next_first(patch: pytest.MonkeyPatch) -> None:
    waves = Visit.waves
    patch.setattr(Visit, "waves", lambda self: iter(list(waves(self))))


def _takes_the_next_place(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Slots, "row_of", lambda self, place: (place + 1) % len(self))


@pytest.mark.parametrize("mutant", [_all_in_one, _asks_for_the_next_first, _takes_the_next_place])
def test_what_is_broken_is_found(
    mutant: Any, grouped_pair: Pair, expected: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    assert any(wrong(monkeypatch, grouped_pair, "offload", 1, seed, expected) for seed in range(6))


def test_other_experts_are_computed_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_draft(tmp_path / "draft", save_target(tmp_path / "target", hidden_act="gelu"))
    save_tokenizer(tmp_path)
    pair = make_grouped(tmp_path)
    device = Device(monkeypatch, 0)
    wanted = group(1, 0)
    assert decode(pair, SYSTEMS["offload"], wanted) == by_family(pair)(wanted)
    assert device.launches == 0
    pair.close()


def test_a_virtual_clock_goes_as_it_does_without(grouped_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    Device(monkeypatch, 0)
    shape = Shape(grouped_pair.num_layers, grouped_pair.num_experts, 8)
    ends, texts = [], []
    for operators in ("grouped", "stock"):
        monkeypatch.setattr(grouped_pair, "config", dataclasses.replace(grouped_pair.config, operators=operators))
        composition = Composition.of(SYSTEMS["offload"])
        parts = LiveAssembly(composition, grouped_pair, shape, None, COSTS, virtual=True).parts()
        texts.append(continued(grouped_pair, parts.mixer, [[3, 1, 4]], 6))
        ends.append(parts.cache.now())
        parts.cache.close()
    assert texts[0] == texts[1]
    assert ends[0] == ends[1] > 0


def test_places_are_rows_of_the_slab(grouped_pair: Pair) -> None:
    store, host = grouped_pair.store, torch.device("cpu")
    for slots in (Slots(store.shape, store.dtype, 3, host), LayerSlots(store.shape, store.dtype, host)):
        for place, matrices in enumerate(slots.matrices):
            assert matrices[0].data_ptr() == slots.slab[slots.row_of(place)].data_ptr()


def test_a_host_is_refused(grouped_pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="CUDA device"):
        load_pair(grouped_pair.config, tmp_path)
