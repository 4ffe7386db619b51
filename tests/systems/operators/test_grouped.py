"""Experts by two kernels in Triton: run by its interpreter on tensors of the host, and compiled for a device.

The interpreter has to be chosen before triton is imported, and would stay chosen: what needs it runs in a process of
its own, which `test_under_the_interpreter` starts.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from systems.contract.errors import BadInput
from systems.operators import grouped
from systems.operators.grouped import ABSENT, DONE, Mixing

ROOT = Path(__file__).parents[3]
HIDDEN, INNER, EXPERTS, TOP = 40, 24, 5, 3
SLOTS = (6, 0, 3, 1, 4)
"""By expert the row of its record in a slab of eight; the others are NaN."""
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
interpreted = pytest.mark.skipif(not INTERPRETED, reason="run by test_under_the_interpreter")


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="runs the others")
@pytest.mark.slow
def test_under_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not cuda", __file__]
    ran = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


class Case:
    """Experts of a family, their records in a slab, and rows that choose among them."""

    def __init__(self, rows: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        from transformers import MixtralConfig
        from transformers.models.mixtral.modeling_mixtral import MixtralExperts

        torch.manual_seed(0)
        config = MixtralConfig(hidden_size=HIDDEN, intermediate_size=INNER, num_local_experts=EXPERTS)
        config._experts_implementation = "eager"
        self.experts = MixtralExperts(config).to(device, dtype)
        for parameter in self.experts.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        self.slab = torch.full((8, 3 * HIDDEN * INNER), torch.nan, dtype=dtype, device=device)
        for expert, slot in enumerate(SLOTS):
            matrices = self.experts.gate_up_proj[expert], self.experts.down_proj[expert]
            self.slab[slot] = torch.cat([matrix.detach().flatten() for matrix in matrices])
        self.hidden = _within(torch.randn(rows, HIDDEN, dtype=dtype, device=device))
        self.weights = _within(torch.rand(rows, TOP, dtype=dtype, device=device))
        self.chosen = [torch.randperm(EXPERTS)[:TOP].tolist() for _ in range(rows)]

    @torch.no_grad()
    def stock(self) -> Tensor:
        """What the family computes."""
        found: Tensor = self.experts(self.hidden, torch.tensor(self.chosen, device=self.hidden.device), self.weights)
        return found

    def mixing(self, rows: int | None = None, first: int = 0) -> Mixing:
        """Start mixing so many rows."""
        some = slice(first, None if rows is None else first + rows)
        return Mixing(self.slab, self.hidden[some], self.weights[some], self.chosen[some])

    def mixed(self, *waves: Any, rows: int | None = None, first: int = 0) -> Tensor:
        """Mix experts that arrive in waves."""
        mixing = self.mixing(rows, first)
        for wave in waves or (range(EXPERTS),):
            mixing.add((expert, SLOTS[expert]) for expert in wave)
        return mixing.mixed


def _within(numbers: Tensor) -> Tensor:
    """Return numbers in memory that goes on behind them, with NaN: whoever reads on is found."""
    memory = torch.full((numbers.numel() + 4096,), torch.nan, dtype=numbers.dtype, device=numbers.device)
    memory[: numbers.numel()] = numbers.flatten()
    return memory[: numbers.numel()].view_as(numbers)


@pytest.fixture
def large_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer programs: the interpreter takes its time over each. No size divides these."""
    monkeypatch.setattr(grouped, "_ACTIVATE", (32, 16))
    monkeypatch.setattr(grouped, "_ADD_UP", (64, 16))


@needs_triton
@interpreted
@pytest.mark.parametrize("tiles", [((8, 256), (4, 512)), ((16, 16), (32, 16))])
def test_experts_are_the_familys(tiles: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped, "_ACTIVATE", tiles[0])
    monkeypatch.setattr(grouped, "_ADD_UP", tiles[1])
    case = Case(2)
    torch.testing.assert_close(case.mixed(), case.stock(), rtol=1e-6, atol=1e-6)


@needs_triton
@interpreted
@pytest.mark.usefixtures("large_tiles")
def test_in_16_bits_they_are_the_familys_but_for_rounding() -> None:
    case = Case(2, torch.bfloat16)
    mixed = case.mixed()
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed, case.stock(), rtol=2e-2, atol=2e-2)


@needs_triton
@interpreted
@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bits_are_the_same_at_every_width(dtype: torch.dtype) -> None:
    case = Case(9, dtype)
    widest = case.mixed()
    for width in range(1, 9):
        first = 9 - width
        assert torch.equal(case.mixed(rows=width, first=first), widest[first:]), width


@needs_triton
@interpreted
@pytest.mark.usefixtures("large_tiles")
def test_the_order_of_arrival_changes_no_bit() -> None:
    case = Case(2)
    at_once = case.mixed()
    for waves in [([0, 1], [2, 3, 4]), ([4], [3], [2], [1], [0])]:
        assert torch.equal(case.mixed(*waves), at_once)


@needs_triton
@interpreted
@pytest.mark.usefixtures("large_tiles")
def test_who_is_absent_adds_nothing() -> None:
    case = Case(2)
    case.chosen = [[0, 4, 2], [3, 1, 0]]
    stock = Case(2)
    stock.chosen, stock.weights = case.chosen, case.weights.clone()
    stock.weights[0, 1] = stock.weights[1, 1] = 0.0
    torch.testing.assert_close(case.mixed([0, 2, 3]), stock.stock(), rtol=1e-6, atol=1e-6)
    assert torch.equal(case.mixed([]), torch.zeros(2, HIDDEN))


@needs_triton
@interpreted
@pytest.mark.usefixtures("large_tiles")
def test_products_are_added_in_ascending_order_and_nothing_else_is_written() -> None:
    case = Case(2)
    case.chosen = [[4, 0, 2], [2, 3, 1]]
    entries = [1, 2, 0, 5, 3, 4]
    experts = [0, 2, 4, 1, 2, 3]
    table = torch.tensor([[SLOTS[e], entry] for e, entry in zip(experts, entries, strict=True)], dtype=torch.int32)
    shapes = (2 * TOP, INNER), (2 * TOP, HIDDEN), (2, HIDDEN)
    active, products, mixed = (_within(torch.full(shape, torch.nan)) for shape in shapes)
    grouped.launch(case.hidden, case.slab, table, case.weights, active, products, mixed)
    for tensor in (active, products, mixed):
        whole = torch.as_strided(tensor, (tensor.numel() + 4096,), (1,), 0)
        assert not whole[: tensor.numel()].isnan().any()
        assert whole[tensor.numel() :].isnan().all()
    first, second, third = products.view(2, TOP, HIDDEN).unbind(1)
    assert not torch.equal(third + second + first, first + second + third), "or this says nothing"
    assert torch.equal(mixed, first + second + third)


@needs_triton
@interpreted
@pytest.mark.usefixtures("large_tiles")
def test_rows_anywhere_in_memory() -> None:
    case = Case(3)
    mixed = case.mixed()
    case.hidden = torch.cat([torch.zeros(1), case.hidden.flatten()])[1:].view(3, HIDDEN)
    case.weights = case.weights.T.contiguous().T
    assert torch.equal(case.mixed(), mixed)


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="what is interpreted is not compiled")
@pytest.mark.parametrize(("dtype", "tiles"), [("bf16", 2), ("fp32", 4)])
@pytest.mark.parametrize(("hidden", "inner"), [(2048, 1408), (4096, 14336), (2048, 768)])
def test_a_device_loads_16_bytes_at_once(hidden: int, inner: int, dtype: str, tiles: int) -> None:
    """Compiled for compute capability 9.0, which takes no device: every load of a tile is of four registers."""
    for name, once in (("activate", 3), ("add_up", 2)):
        loads = re.findall(r"ld\.global[.\w:]*(?:v\d\.b\d+|b\d+)", _ptx(name, hidden, inner, dtype))
        wide = [load for load in loads if load.endswith(("v4.b32", "v2.b64"))]
        assert len(wide) >= once * tiles, loads
        narrow = len(loads) - len(wide)
        assert narrow <= (1 if name == "activate" else 5), "places, entries, weights and products of before"


def _ptx(name: str, hidden: int, inner: int, dtype: str) -> str:
    """Compile a kernel as it is compiled where tensors lie as PyTorch lets them."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from systems.operators import grouped_kernels

    kernel = getattr(grouped_kernels, name)
    types = {"table": "*i32", "products": "*fp32"}
    rows, columns = grouped._ACTIVATE if name == "activate" else grouped._ADD_UP
    numbers = {"HIDDEN": hidden, "INNER": inner, "TOP": 6, "ROWS": rows, "COLUMNS": columns}
    signature = {arg: "constexpr" if arg in numbers else types.get(arg, f"*{dtype}") for arg in kernel.arg_names}
    free = {*numbers, "table", "weights"}
    aligned = {(at,): [["tt.divisibility", 16]] for at, arg in enumerate(kernel.arg_names) if arg not in free}
    source = ASTSource(kernel, signature, constexprs=numbers, attrs=aligned)
    options = grouped.UNFUSED if name == "add_up" else {}
    ptx: str = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
    return ptx


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="what is interpreted is not compiled")
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_product_is_rounded_before_it_is_added_whichever_launch_computes_it(dtype: str) -> None:
    """A fused addition would not round those of this launch, but those of an earlier one: which its interpreter, on
    which the other tests run, does not know."""
    assert "fma.rn" not in _ptx("add_up", 2048, 1408, dtype)


@needs_triton
@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_device(dtype: torch.dtype) -> None:
    case = Case(9, dtype, "cuda")
    widest = case.mixed([4, 0], [1], [2, 3])
    bound = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(widest, case.stock(), rtol=bound, atol=bound)
    for width in range(1, 9):
        assert torch.equal(case.mixed(rows=width), widest[:width]), width


def test_a_table_says_who_is_where(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: list[list[list[int]]] = []
    monkeypatch.setattr(grouped, "launch", lambda hidden, slab, table, *rest: tables.append(table.tolist()))
    mixing = Mixing(torch.zeros(8, 3 * 4 * 2), torch.zeros(2, 4), torch.zeros(2, 2), [[3, 1], [3, 3]])
    mixing.add([(3, 7)])
    mixing.add([(1, 0)])
    assert tables == [
        [[ABSENT, 1], [7, 0], [7, 2], [7, 3]],
        [[0, 1], [DONE, 0], [DONE, 2], [DONE, 3]],
    ]


def test_other_rows_are_left_alone() -> None:
    slab = torch.zeros(2, 24)
    assert grouped.serves(torch.zeros(grouped.MOST_ROWS, 4), slab)
    assert not grouped.serves(torch.zeros(grouped.MOST_ROWS + 1, 4), slab)
    assert not grouped.serves(torch.zeros(0, 4), slab)
    assert not grouped.serves(torch.zeros(1, 4).bfloat16(), slab)
    assert not grouped.serves(torch.zeros(1, 4).half(), slab.half())


def test_machines_that_lack_something_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="CUDA device"):
        grouped.require("cpu", torch.float32)
    with pytest.raises(BadInput, match="bfloat16"):
        grouped.require("cuda", torch.float16)
    monkeypatch.setattr(grouped, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="triton"):
        grouped.require("cuda:1", torch.bfloat16)
