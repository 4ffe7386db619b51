"""INT4 on a CUDA device: what its kernels are given, by stand-ins that lay codes out as they do, and what comes of
it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from systems.api import BadInput, NullMeter, Unsupported, build_system
from systems.contract.shape import int4_bytes
from systems.methods.moe_speq.int4_kernels import KERNELS, check_device, inner_tiles, kernel_for, pairs
from systems.methods.moe_speq.quantised import Int4Matrix, QuantisedExperts, check, quantise
from systems.modeling.offloaded import Gated
from systems.runtime.pair import Pair
from tests.systems.methods import fake_int4
from tests.systems.methods.fake_int4 import FakeInt4
from tests.systems.runtime import fake_cuda
from tests.systems.runtime.fake_cuda import FakeCuda
from tests.systems.test_exactness import copies, plain
from tests.systems.tiny import COSTS, SYSTEMS, make_pair, requests

CUDA = torch.device("cuda", 0)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeInt4:
    return fake_int4.install(monkeypatch)


def drawn(*sizes: int, seed: int = 0) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def device_of(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)


# What the kernels are given.


def test_of_two_neighbours_the_first_is_the_upper_half() -> None:
    codes = torch.tensor([[1, 2, 15, 0], [8, 8, 0, 15]], dtype=torch.int8)
    found = pairs(codes)
    assert found.dtype == torch.uint8
    assert found.is_contiguous()
    assert found.tolist() == [[0x12, 0xF0], [0x88, 0x0F]]


@pytest.mark.parametrize(("inputs", "tiles"), [(32, 2), (64, 4), (96, 2), (128, 8), (192, 4), (1408, 8), (2048, 8)])
def test_as_many_tiles_lie_side_by_side_as_divide_the_inputs(inputs: int, tiles: int) -> None:
    assert inner_tiles(inputs) == tiles


def test_a_thread_holds_what_the_layout_says() -> None:
    """Worked by hand: 8 outputs by 32 inputs, of which input i has code i % 16, plus the output in one that tells."""
    codes = (torch.arange(32) % 16).repeat(8, 1)
    codes[3, 10] = 5  # of byte 5, the upper half: thread 3 * 4 + 5 % 4, its second byte
    words = FakeInt4().pack(pairs(codes), 2)
    assert words.shape == (1, 1, 32, 1)
    held = [word & 0xFFFFFFFF for word in words.flatten().tolist()]
    assert held[0] == 0x91918080  # bytes 0, 4, 8, 12: (0, 1), (8, 9), (0, 1), (8, 9)
    assert held[3] == 0xF7F7E6E6  # bytes 3, 7, 11, 15: (6, 7), (14, 15), (6, 7), (14, 15)
    assert held[13] == 0xB3B3A252  # bytes 1, 5, 9, 13: (2, 3), (5, 11), (2, 3), (10, 11)


@pytest.mark.parametrize("tiles", [2, 4, 8])
def test_all_codes_are_found_where_threads_look(tiles: int) -> None:
    codes = torch.randint(0, 16, (24, 256), generator=torch.Generator().manual_seed(tiles), dtype=torch.int32)
    assert torch.equal(fake_int4.unpack(FakeInt4().pack(pairs(codes), tiles)), codes)


# What comes of it.


def test_a_product_worked_by_hand(fake: FakeInt4) -> None:
    """Scales of two groups are 1 and 1/2, since their largest magnitudes are 7 and 3.5."""
    weight = torch.zeros(16, 64)
    weight[:, 0], weight[:, 32] = 7.0, 3.5
    weight[0, 1], weight[0, 62], weight[5, 33] = -3.0, 1.5, -3.5
    rows = torch.zeros(2, 64, dtype=torch.bfloat16)
    rows[0, 0], rows[0, 1], rows[0, 62] = 1.0, 2.0, 4.0
    rows[1, 32], rows[1, 33] = 2.0, 1.0
    expected = torch.tensor([[7.0], [7.0]]).repeat(1, 16)
    expected[0, 0] = 7 - 6 + 6
    expected[1, 5] = 7 - 3.5
    product = Int4Matrix(weight, 32)(rows)
    assert product.dtype == torch.bfloat16
    assert torch.equal(product.float(), expected)
    assert (fake.packed, fake.multiplied) == (1, 1)


@pytest.mark.parametrize("group", [32, 64, 128, 256])
def test_a_device_multiplies_by_what_the_host_multiplies_by(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where weights are rounded, and where sums are, they differ by an ulp of bf16."""
    weight, rows = drawn(48, 256), drawn(3, 256, seed=1).to(torch.bfloat16)
    host = Int4Matrix(weight, group)
    on_host = host(rows).float()
    fake_int4.install(monkeypatch)
    device = Int4Matrix(weight, group)
    assert device.nbytes == host.nbytes
    levels, scales = quantise(weight, group)
    expanded = (levels.view(48, -1, group) * scales.to(torch.bfloat16).float()[..., None]).view(48, 256)
    for product in (on_host, device(rows).float()):
        assert (product - rows.float() @ expanded.T).norm() < 0.005 * product.norm()


def test_the_host_keeps_its_own_kernel() -> None:
    weight, rows = drawn(48, 128), drawn(3, 128, seed=1).to(torch.bfloat16)
    levels, scales = quantise(weight, 32)
    both = torch.stack([scales, torch.zeros_like(scales)], -1).transpose(0, 1).contiguous().to(torch.bfloat16)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu((levels + 8).to(torch.int32), 1)
    expected = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, packed, 32, both)
    assert torch.equal(Int4Matrix(weight, 32)(rows), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_experts_of_any_dtype_are_multiplied_in_bf16(dtype: torch.dtype, fake: FakeInt4, tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    experts = QuantisedExperts(pair.store, 32, torch.device("cpu"))
    assert experts.nbytes == pair.store.shape.count * int4_bytes(32, 32, 32)
    chosen = torch.tensor([[0, 5], [5, 2], [1, 0]])
    mixed = experts(1, drawn(3, 32).to(dtype), chosen, torch.full((3, 2), 0.5), Gated(torch.nn.functional.silu))
    assert mixed.dtype == dtype
    assert mixed.isfinite().all()
    assert fake.multiplied == 2 * 4, "gate and up, and down, of four experts"


# Where it happens: tensors without values say what lies on which device, and torch which shapes there are.


@pytest.mark.parametrize(("outputs", "inputs"), [(2816, 2048), (2048, 1408), (64, 96)])
def test_stood_in_shapes_are_those_of_torch(outputs: int, inputs: int) -> None:
    tiles, fake = inner_tiles(inputs), FakeInt4()
    with FakeTensorMode():
        weight = torch.empty(outputs, inputs // 2, dtype=torch.uint8, device=CUDA)
        packed = torch.ops.aten._convert_weight_to_int4pack(weight, tiles)
        rows = torch.empty(5, inputs, dtype=torch.bfloat16, device=CUDA)
        scales = torch.empty(inputs // 32, outputs, 2, dtype=torch.bfloat16, device=CUDA)
        product = torch.ops.aten._weight_int4pack_mm(rows, packed, 32, scales)
    mine = fake.pack(_without_values(weight), tiles)
    assert (mine.shape, mine.dtype) == (packed.shape, packed.dtype)
    found = fake.multiply(_without_values(rows), mine, 32, _without_values(scales))
    assert (found.shape, found.dtype) == (product.shape, product.dtype) == ((5, outputs), torch.bfloat16)


def _without_values(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


@pytest.mark.parametrize(("outputs", "inputs"), [(2816, 2048), (2048, 1408), (64, 96)])
def test_a_matrix_is_packed_where_its_weights_are(outputs: int, inputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_int4.install(monkeypatch, "meta")
    matrix = Int4Matrix(torch.empty(outputs, inputs, device="meta"), 32)
    product = matrix(torch.empty(5, inputs, dtype=torch.bfloat16, device="meta"))
    assert (product.shape, product.device.type) == ((5, outputs), "meta")
    assert matrix.nbytes == outputs * inputs // 2 + 4 * outputs * inputs // 32
    with pytest.raises(AssertionError):
        matrix(torch.empty(5, inputs, dtype=torch.bfloat16))


def test_experts_are_packed_and_computed_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's are on the host, and so are numbers of experts once they are read."""
    fake = fake_int4.install(monkeypatch, "meta")
    store, device = make_pair(tmp_path).store, torch.device("meta")
    experts = QuantisedExperts(store, 32, device)
    assert experts.nbytes == store.shape.count * int4_bytes(32, 32, 32)
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: [[0, 5], [5, 2], [1, 0]])
    hidden, weights = torch.empty(3, 32, device=device), torch.empty(3, 2, device=device)
    chosen = torch.empty(3, 2, dtype=torch.long, device=device)
    mixed = experts(1, hidden, chosen, weights, Gated(torch.nn.functional.silu))
    assert (mixed.shape, mixed.device, mixed.dtype) == ((3, 32), device, torch.float32)
    assert fake.multiplied == 2 * 4


# Whole systems, on a device whose streams and kernels are stood in for.


@pytest.mark.parametrize("batch", [1, 3])
def test_moe_speq_decodes_what_plain_decoding_does(
    batch: int, fake: FakeInt4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    pair = make_pair(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(pair.config.target, experts_implementation="eager").eval()
    wanted = requests(batch, 8)
    sim = FakeCuda(eager=0.2)
    assert decode("moe_speq", pair, wanted, sim, monkeypatch) == [plain(model, request) for request in wanted]
    assert sim.races == []
    assert fake.multiplied


def test_int4_decodes_on_a_device_as_on_the_host(
    fake: FakeInt4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, wanted = make_pair(tmp_path), requests(3, 8)
    sim = FakeCuda()
    found = decode("int4", pair, wanted, sim, monkeypatch)
    assert (sim.races, sim.reads) == ([], 0)
    assert fake.packed == 2 * pair.store.shape.count
    assert found == emitted("int4", pair, wanted)


def decode(name: str, pair: Pair, wanted: Any, sim: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Decode on the stood-in device, and give back the memory that it has locked."""
    with monkeypatch.context() as patch:
        patch.setattr("systems.runtime.timing.draft_token_time", lambda pair, mixer: 1e-3)
        fake_cuda.install(patch, sim)
        try:
            return emitted(name, pair, wanted)
        finally:
            lock = pair.store._lock  # type: ignore[attr-defined]
            if lock is not None:
                lock.release()
                pair.store._lock = None  # type: ignore[attr-defined]


def emitted(name: str, pair: Pair, wanted: Any) -> list[list[int]]:
    config = SYSTEMS[name]
    system = build_system(config, pair, copies(config, pair) + 8 * pair.record_bytes, None, COSTS)
    meter = NullMeter([request.max_new_tokens for request in wanted])
    try:
        system.generate(wanted, meter)
    finally:
        system.close()
    return meter.tokens


# What is refused.


@pytest.mark.parametrize(
    ("outputs", "inputs", "group", "device"),
    [(20, 64, 32, "cuda"), (24, 64, 32, "cpu"), (16, 80, 32, "cuda"), (16, 64, 128, "cuda"), (16, 64, 16, "cuda")],
)
def test_sizes_that_no_kernel_takes(
    outputs: int, inputs: int, group: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device_of(monkeypatch, (9, 0))
    with pytest.raises(BadInput, match=rf"{outputs} x {inputs} in groups of {group}$"):
        kernel_for(outputs, inputs, group, torch.device(device))


def test_sizes_that_a_device_takes_and_the_host_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    device_of(monkeypatch, (9, 0))
    assert kernel_for(24, 64, 32, CUDA) is KERNELS["cuda"]


def test_devices_without_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unsupported, match=r"device=xpu; set model.device=cpu or cuda"):
        check_device(torch.device("xpu"))
    device_of(monkeypatch, (7, 5))
    with pytest.raises(Unsupported, match=r"capability 8\.0"):
        check(64, 64, 32, CUDA)
    device_of(monkeypatch, (8, 0))
    check(64, 64, 32, CUDA)
    with pytest.raises(BadInput, match="group=128"):
        check(64, 128, 128, CUDA)
