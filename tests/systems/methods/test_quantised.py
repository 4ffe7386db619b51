import pytest
import torch

from systems.api import BadInput
from systems.contract.shape import int4_bytes
from systems.methods.moe_speq.quantised import Int4Matrix, QuantisedExperts, check, quantise
from tests.systems.tiny import make_pair


@pytest.mark.parametrize("group", [32, 64, 128])
def test_a_round_trip_stays_within_half_a_level(group: int) -> None:
    weight = torch.randn(48, 256, generator=torch.Generator().manual_seed(0))
    levels, scales = quantise(weight, group)
    grouped = levels.view(48, -1, group)
    error = (grouped * scales[..., None] - weight.view(48, -1, group)).abs()
    assert (error <= scales[..., None] / 2 * (1 + 1e-5)).all()
    assert grouped.abs().amax(-1).eq(7).all(), "each group uses its whole range"
    assert error.max() > 0


def test_a_group_of_zeros_stays_zero() -> None:
    levels, scales = quantise(torch.zeros(2, 64), 32)
    assert not levels.any()
    assert torch.isfinite(scales).all()


def test_the_kernel_multiplies_what_was_quantised() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, rows = torch.randn(64, 128, generator=generator), torch.randn(3, 128, generator=generator)
    levels, scales = quantise(weight, 32)
    expanded = (levels.view(64, -1, 32) * scales[..., None]).view(64, 128)
    product = Int4Matrix(weight, 32)(rows.to(torch.bfloat16)).float()
    assert torch.allclose(product, rows @ expanded.T, atol=0.35, rtol=0.03)
    assert (product - rows @ expanded.T).norm() < 0.01 * product.norm()


def test_bytes_are_those_of_the_packed_copies(tmp_path: object) -> None:
    pair = make_pair(tmp_path)  # type: ignore[arg-type]
    copies = QuantisedExperts(pair.store, 32, torch.device("cpu"))
    assert copies.nbytes == pair.store.shape.count * int4_bytes(32, 32, 32)
    assert copies.nbytes < pair.expert_bytes / 5


def test_shapes_without_whole_groups_are_refused() -> None:
    with pytest.raises(BadInput, match=r"group=128 of INT4 must divide .* 100"):
        check(100, 256, 128, torch.device("cpu"))
