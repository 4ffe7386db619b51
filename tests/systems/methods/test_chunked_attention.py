"""The chunked attention kernel: equal to the definition for all lengths; reads nothing that is not there."""

import itertools

import pytest
import torch
from torch.nn import functional

from systems.methods.spec_moe_off.attention_kernels import KERNELS, AttentionWork, attention_error, attention_work
from systems.methods.spec_moe_off.chunked_attention import PADDING, chunked_attention, groups


def reference(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, starts: list[int]) -> torch.Tensor:
    """Row by row, by torch's own kernel with the whole mask: `(B, n, heads, d)`."""
    rows = []
    for row, start in enumerate(starts):
        width = query.shape[2]
        mask = torch.arange(start + width) <= (start + torch.arange(width))[:, None]
        kept = slice(0, start + width)
        rows.append(
            functional.scaled_dot_product_attention(
                query[[row]], keys[[row], :, kept], values[[row], :, kept], attn_mask=mask, enable_gqa=True
            )
        )
    return torch.cat(rows).transpose(1, 2)


@pytest.mark.parametrize(
    "starts",
    [[7], [7, 7, 7], [0, 3, 5], [3, 900, 4, 5], [900, 1, 1, 1, 899], [0]],
    ids=lambda starts: "-".join(map(str, starts)),
)
@pytest.mark.parametrize("width", [1, 2, 5])
def test_ragged_rows_equal_each_row_alone(starts: list[int], width: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(len(starts), 4, width, 16)
    keys, values = torch.randn(2, len(starts), 2, 1000, 16).unbind()
    for row, start in enumerate(starts):  # what lies behind must never be read, not even times zero
        keys[row, :, start + width :] = 1e30
        values[row, :, start + width :] = 1e30
    found = chunked_attention(query, keys, values, starts, 0.25)
    torch.testing.assert_close(found, reference(query, keys, values, starts), rtol=1e-5, atol=1e-6)


def test_heads_of_keys_and_of_values_may_differ_in_size() -> None:
    query, keys, values = torch.randn(2, 4, 3, 16), torch.randn(2, 4, 9, 16), torch.randn(2, 4, 9, 8)
    found = chunked_attention(query, keys, values, [4, 6], 0.25)
    assert found.shape == (2, 3, 4, 8)
    torch.testing.assert_close(found, reference(query, keys, values, [4, 6]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_all_kernels_of_the_benchmark_compute_the_same(kernel: str) -> None:
    work = attention_work(3, 4, 2, 16, prefix=40, drafted=5, seed=0)
    assert KERNELS[kernel](work).shape == (3, 5, 4, 16)
    assert attention_error(work, KERNELS[kernel]) < 1e-6


def test_the_error_of_a_wrong_kernel_shows() -> None:
    work = attention_work(3, 4, 2, 16, prefix=40, drafted=5, seed=0)

    def blind(work: AttentionWork) -> torch.Tensor:
        return chunked_attention(work.asked, work.keys, work.values, [work.prefix - 1] * 3, work.scale)

    assert attention_error(work, blind) > 1e-2


def test_bfloat16_stays_bfloat16() -> None:
    work = attention_work(1, 4, 2, 16, prefix=40, drafted=5, seed=0, dtype="bfloat16")
    assert KERNELS["chunked"](work).dtype == torch.bfloat16
    assert attention_error(work, KERNELS["chunked"]) < 3e-2


def test_only_the_drafted_part_of_the_mask_is_made() -> None:
    (group,) = groups((1024,) * 8, 5)
    assert group.mask.shape[-2:] == (5, 5)


@pytest.mark.parametrize("starts", [(5, 900, 5, 5), (1,), (100, 200, 300), (0, PADDING + 1)])
def test_groups_cover_all_rows_and_pad_little(starts: tuple[int, ...]) -> None:
    found = groups(starts, 3)
    assert [group.first for group in found] + [len(starts)] == [0] + [group.stop for group in found]
    for group in found:
        own = starts[group.first : group.stop]
        assert sum(max(own) - start for start in own) <= PADDING
        assert (group.visible, group.end) == (min(own), max(own) + 3)
    assert all(a.stop == b.first for a, b in itertools.pairwise(found))


def test_nothing_to_attend_from_and_too_few_keys_are_errors() -> None:
    keys = torch.zeros(1, 2, 8, 16)
    with pytest.raises(ValueError, match="0 rows of 2 tokens"):
        chunked_attention(torch.zeros(0, 4, 2, 16), keys[:0], keys[:0], [], 1.0)
    with pytest.raises(ValueError, match="1 rows of 0 tokens"):
        chunked_attention(torch.zeros(1, 4, 0, 16), keys, keys, [3], 1.0)
    with pytest.raises(ValueError, match="position 9 is beyond the 8 keys"):
        chunked_attention(torch.zeros(1, 4, 2, 16), keys, keys, [7], 1.0)
