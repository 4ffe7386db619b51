"""Each operator by itself: it takes the place of what it computes, too, and of nothing else."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from systems.operators import fusing
from systems.operators.attention import attend, everything
from systems.operators.calls import call_directly
from systems.operators.layout import laid_out, lay_out, product
from systems.operators.norms import fuse_norms
from systems.operators.projections import merge_projections
from systems.operators.replacing import replace
from systems.operators.rotation import Rotation


class Norm(nn.Module):
    """A root-mean-square norm as families write it; `more` is added to its weights, `mean` is subtracted."""

    def __init__(self, dtype: torch.dtype = torch.float32, more: float = 0.0, mean: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(24, dtype=dtype))
        self.eps, self.more, self.mean = 1e-5, more, mean

    def forward(self, rows: Tensor) -> Tensor:
        given, rows = rows.dtype, rows.float()
        if self.mean:
            rows = rows - rows.mean(-1, keepdim=True)
        normed = rows * torch.rsqrt(rows.pow(2).mean(-1, keepdim=True) + self.eps)
        if self.more:
            return (normed * (self.weight.float() + self.more)).to(given)
        return self.weight * normed.to(given)


def read(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(torch.ones(1, 2, 16))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("more", [0.0, 1.0])
@pytest.mark.parametrize("rows", [1, 3, 40])
@torch.no_grad()
def test_a_norm_is_one_operator(dtype: torch.dtype, more: float, rows: int) -> None:
    norm = Norm(dtype, more)
    given = torch.randn(1, rows, 24).to(dtype)
    stock = norm(given)
    assert len(fuse_norms(norm, read)) == 1
    assert "forward" in vars(norm)
    exact = {"rtol": 0.0, "atol": 0.0} if dtype == torch.bfloat16 else {}  # rounded where the family rounds
    torch.testing.assert_close(norm(given), stock, **exact)


@pytest.mark.parametrize("norm", [Norm(mean=True), Norm(more=0.5), nn.LayerNorm(24)])
def test_other_norms_are_left_alone(norm: Any) -> None:
    assert not fuse_norms(norm, read)


class Attention(nn.Module):
    """Three maps of one tensor, and one of another."""

    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        sizes = {"q_proj": 12, "k_proj": 4, "v_proj": 4}
        for name, size in sizes.items():
            setattr(self, name, nn.Linear(16, size, bias=bias))
        self.o_proj = nn.Linear(12, 16, bias=bias)

    def forward(self, rows: Tensor) -> Tensor:
        queries, keys, values = self.q_proj(rows), self.k_proj(rows), self.v_proj(rows)
        return self.o_proj(queries + keys.repeat(1, 1, 3) * values.repeat(1, 1, 3))


@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_maps_of_one_tensor_are_one(bias: bool) -> None:
    model = Attention(bias)
    rows = torch.randn(1, 3, 16)
    stock, keys = model(rows), model.k_proj(rows)
    undos = merge_projections(model, read)
    assert len(undos) == 3
    assert "forward" not in vars(model.o_proj)
    torch.testing.assert_close(model(rows), stock)
    model.q_proj(torch.randn(1, 3, 16))
    torch.testing.assert_close(model.k_proj(rows), keys)  # not of what the first of them was given last
    for undo in undos:
        undo()
    torch.testing.assert_close(model(rows), stock)


@torch.no_grad()
def test_nothing_is_kept_of_a_tensor_that_all_have_read() -> None:
    model = Attention()
    merge_projections(model, read)
    model(torch.randn(1, 3, 16))
    assert vars(model.q_proj)["forward"].__self__._latest is None


@pytest.mark.parametrize("bias", [None, torch.randn(6)])
@pytest.mark.parametrize("rows", [(1, 8), (1, 1, 8), (5, 8), (2, 3, 8)])
def test_a_matrix_gives_the_same_however_it_lies(rows: tuple[int, ...], bias: Tensor | None) -> None:
    weight, given = torch.randn(6, 8), torch.randn(rows)
    laid = laid_out(weight)
    assert torch.equal(laid, weight)
    assert laid.stride() == (1, 6)
    torch.testing.assert_close(product(given, laid, bias), functional.linear(given, weight, bias))
    assert torch.equal(product(given, weight, bias), functional.linear(given, weight, bias))


def test_short_numbers_stay_where_they_are() -> None:
    """bfloat16 has kernels of its own."""
    model = nn.Linear(8, 8, dtype=torch.bfloat16)
    assert not lay_out(model, read)
    assert model.weight.is_contiguous()


def stock_rotation(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
    def half(x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return torch.cat((-second, first), -1)

    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return q * cos + half(q) * sin, k * cos + half(k) * sin


def interleaved(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
    def pairs(x: Tensor) -> Tensor:
        return torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)

    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return q * cos + pairs(q) * sin, k * cos + pairs(k) * sin


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_queries_and_keys_are_turned_together(dtype: torch.dtype) -> None:
    device = torch.device("cpu")
    assert Rotation(stock_rotation).agrees(dtype, device)
    assert not Rotation(interleaved).agrees(dtype, device)


def test_what_is_turned_in_part_only_is_turned_by_the_family() -> None:
    called = []

    def partial_rotation(*given: Any, **named: Any) -> tuple[Tensor, Tensor]:
        called.append(given)
        return given[0], given[1]

    q, cos = torch.randn(1, 2, 1, 16), torch.randn(1, 1, 8)
    Rotation(partial_rotation)(q, q, cos, cos)
    assert len(called) == 1


MODULE = SimpleNamespace(num_key_value_groups=2, is_causal=True)


def attended(mask: Tensor | None, queries: int) -> tuple[Tensor, Tensor]:
    """By ours and by transformers', of four heads that share two."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, queries, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    ours, _ = attend(sdpa_attention_forward, MODULE, query, key, value, mask, scaling=0.3)
    theirs, _ = sdpa_attention_forward(MODULE, query, key, value, mask, scaling=0.3)  # type: ignore[arg-type]
    return ours, theirs


def test_attention_copies_nothing_and_gives_the_same() -> None:
    causal = torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    for mask, queries in ((None, 1), (None, 5), (causal[:, :, 2:3], 1), (causal[:, :, 3:], 2), (causal, 5)):
        ours, theirs = attended(mask, queries)
        torch.testing.assert_close(ours, theirs)


def test_a_mask_is_dropped_only_while_it_is_the_one_that_hides_nothing() -> None:
    """A family that hides more makes another tensor of it."""
    mask = everything(torch.ones(1, dtype=torch.bool), 2, 5)
    torch.testing.assert_close(*attended(mask, 1))
    narrower = mask & torch.tensor([False, False, True, True, True])
    ours, theirs = attended(narrower, 1)
    torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(ours, attended(mask, 1)[0])


def test_hooks_are_heard_and_calls_undone() -> None:
    model, heard = nn.Sequential(nn.Linear(4, 4), nn.SiLU()), list[Any]()
    undos = call_directly(model, read)
    assert isinstance(model[0], nn.Linear)
    hook = model[0].register_forward_hook(lambda *call: heard.append(call))
    model(torch.ones(1, 4))
    hook.remove()
    model(torch.ones(1, 4))
    assert len(heard) == 1
    model[1] = nn.ReLU()
    assert isinstance(getattr(model, "1"), nn.ReLU), "no longer the one that was there"
    for undo in undos:
        undo()
    assert type(model[0]) is nn.Linear


def test_what_changes_the_model_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = Attention()
    model.dtype = torch.float32
    stock = read(model)

    def breaks(answer: Any) -> Any:
        def forward(rows: Tensor) -> Tensor:
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]

        return lambda model, read: [replace(model.o_proj, forward)]

    kinds = {"projections": merge_projections, "zeros": breaks(torch.zeros(1, 2, 16)), "fails": breaks(RuntimeError())}
    monkeypatch.setattr(fusing, "_KINDS", kinds)
    assert fusing.fuse(model, read) == {"projections": 3, "zeros": 0, "fails": 0}
    torch.testing.assert_close(read(model), stock)
