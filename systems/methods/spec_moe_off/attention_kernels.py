"""The chunked attention kernel beside what it replaces, for its benchmark: the same attention, computed otherwise.

SpecMoEOff (arXiv 2508.21706) rejects calling a one-token kernel once per drafted token, which reads keys and values
as often, and extending a kernel made for prompts, which computes the prefix again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from systems.methods.spec_moe_off.chunked_attention import chunked_attention


@dataclass(frozen=True, slots=True)
class AttentionWork:
    """One layer's attention of `drafted` tokens per request behind prefixes of one length.

    Attributes:
        query: `(B, heads, S, d)` for all positions, of which the last `drafted` count.
        keys: `(B, key heads, S, d)`, and so `values`.
    """

    query: Tensor
    keys: Tensor
    values: Tensor
    drafted: int

    @property
    def prefix(self) -> int:
        """Positions before the drafted ones."""
        return self.keys.shape[2] - self.drafted

    @property
    def scale(self) -> float:
        """Factor of the products before the softmax."""
        return float(self.keys.shape[-1] ** -0.5)

    @property
    def asked(self) -> Tensor:
        """The drafted tokens' part of the query."""
        return self.query[:, :, self.prefix :]


Kernel = Callable[[AttentionWork], Tensor]
"""Returns `(B, drafted, heads, d)`."""


def attention_work(
    rows: int, heads: int, key_heads: int, dim: int, prefix: int, drafted: int, seed: int, dtype: str = "float32"
) -> AttentionWork:
    """Draw queries, keys and values of one layer: `rows` requests, `drafted` tokens behind `prefix` positions."""
    generator, positions = torch.Generator().manual_seed(seed), prefix + drafted

    def draw(count: int) -> Tensor:
        return torch.randn(rows, count, positions, dim, generator=generator).to(getattr(torch, dtype))

    return AttentionWork(draw(heads), draw(key_heads), draw(key_heads), drafted)


def chunked(work: AttentionWork) -> Tensor:
    """Keys and values once for all drafted tokens."""
    return chunked_attention(work.asked, work.keys, work.values, [work.prefix] * len(work.keys), work.scale)


def one_token(work: AttentionWork) -> Tensor:
    """The same kernel for one token, once per drafted token."""
    rows = len(work.keys)
    tokens = (
        chunked_attention(work.asked[:, :, [i]], work.keys, work.values, [work.prefix + i] * rows, work.scale)
        for i in range(work.drafted)
    )
    return torch.cat(list(tokens), 1)


def recomputing(work: AttentionWork) -> Tensor:
    """Torch's causal kernel for prompts, over prefix and drafted tokens alike."""
    found = functional.scaled_dot_product_attention(
        work.query, work.keys, work.values, is_causal=True, scale=work.scale, enable_gqa=True
    )
    return found[:, :, work.prefix :].transpose(1, 2)


def sdpa(work: AttentionWork) -> Tensor:
    """Torch's `scaled_dot_product_attention` with the whole mask."""
    found = functional.scaled_dot_product_attention(
        work.asked, work.keys, work.values, attn_mask=_mask(work), scale=work.scale, enable_gqa=True
    )
    return found.transpose(1, 2)


def repeating(work: AttentionWork) -> Tensor:
    """The same as transformers calls it where there is a mask: keys and values repeated for every query head."""
    copies = work.query.shape[1] // work.keys.shape[1]
    keys, values = (tensor.repeat_interleave(copies, 1) for tensor in (work.keys, work.values))
    found = functional.scaled_dot_product_attention(work.asked, keys, values, attn_mask=_mask(work), scale=work.scale)
    return found.transpose(1, 2)


def attention_error(work: AttentionWork, kernel: Kernel) -> float:
    """Return the greatest difference between a kernel's result and the same attention in double precision."""
    double = AttentionWork(work.query.double(), work.keys.double(), work.values.double(), work.drafted)
    return float((kernel(work).double() - sdpa(double)).abs().max())


def attention_kernels() -> Mapping[str, Kernel]:
    """Return the kernels that compute attention of drafted tokens on the host, by name, `chunked` among them.

    Each takes what `attention_work` makes.
    """
    return KERNELS


def _mask(work: AttentionWork) -> Tensor:
    last = work.prefix + torch.arange(work.drafted)
    return (torch.arange(work.prefix + work.drafted) <= last[:, None])[None, None]


KERNELS: dict[str, Kernel] = {
    "chunked": chunked,
    "one_token": one_token,
    "recomputing": recomputing,
    "sdpa": sdpa,
    "transformers": repeating,
}
