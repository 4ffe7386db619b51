"""The training twin of `MistralForCausalLM` / `MixtralForCausalLM`: one decoder, dense or mixture of experts.

Why not train the transformers classes themselves: on CPU cores most of their step is casts, small kernels and the
backward of a per-expert Python loop. Here the parameters of all layers are stacked (one optimizer operation for a
whole kind of matrix), a block is one compiled function that all layers share, and experts run as one grouped
matrix product over tokens sorted by expert. The mathematics is that of transformers; `tests/models` compares logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Architecture:
    """Shape of the pair. Draft and target differ in nothing but `experts` (0: a dense feed-forward block)."""

    vocab: int = 2048
    hidden: int = 256
    layers: int = 8
    intermediate: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    experts: int = 0
    top_k: int = 2
    max_positions: int = 1024
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5


class Trace(NamedTuple):
    """What a layer's feed-forward block saw and decided.

    `features` `[batch, seq, hidden]` is the normed input (what a router reads); `logits` `[batch, seq, experts]` are
    the router's, fp32, and `chosen` `[batch, seq, top_k]` the experts' ids. The last two are None in a dense layer.
    """

    features: Tensor
    logits: Tensor | None
    chosen: Tensor | None


class LayerWeights(NamedTuple):
    """One layer's slice of the stacked parameters; `router` is empty and `gate_up`/`down` are 2-D in a dense layer."""

    attention_norm: Tensor
    query_key_value: Tensor
    output: Tensor
    mlp_norm: Tensor
    router: Tensor
    gate_up: Tensor
    down: Tensor


BlockFunction = Callable[[Tensor, LayerWeights, Tensor, Tensor, Architecture], tuple[Tensor, Trace]]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm in fp32, returned in the dtype of `x` (as transformers does)."""
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


def rotary_tables(arch: Architecture, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine tables `[length, head_dim]` in fp32, halves laid out as in `rotate_half`."""
    steps = torch.arange(0, arch.head_dim, 2, device=device, dtype=torch.float32) / arch.head_dim
    angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] / arch.rope_theta**steps
    both = torch.cat([angles, angles], -1)
    return both.cos(), both.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of `x` `[batch, seq, heads, head_dim]`."""
    first, second = x.chunk(2, -1)
    turned = torch.cat([-second, first], -1)
    return x * cos[:, None].to(x.dtype) + turned * sin[:, None].to(x.dtype)


def attention(x: Tensor, w: LayerWeights, cos: Tensor, sin: Tensor, arch: Architecture) -> Tensor:
    """Causal grouped-query self-attention, `[batch, seq, hidden]` to the same.

    Explicit matrix products: their backward is far cheaper on CPU than that of `scaled_dot_product_attention`. The
    query heads that share a key-value head are stacked along the sequence, so keys and values are never repeated.
    """
    batch, length, _ = x.shape
    group = arch.heads // arch.kv_heads
    sizes = [arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim, arch.kv_heads * arch.head_dim]
    q, k, v = F.linear(x, w.query_key_value).split(sizes, -1)
    q = rotate(q.view(batch, length, arch.heads, arch.head_dim), cos, sin)
    k = rotate(k.view(batch, length, arch.kv_heads, arch.head_dim), cos, sin)
    q = q.view(batch, length, arch.kv_heads, group, arch.head_dim).permute(0, 2, 3, 1, 4)
    q = q.reshape(batch * arch.kv_heads, group * length, arch.head_dim)
    k = k.permute(0, 2, 3, 1).reshape(batch * arch.kv_heads, arch.head_dim, length)
    v = v.view(batch, length, arch.kv_heads, arch.head_dim).transpose(1, 2).reshape(-1, length, arch.head_dim)
    position = torch.arange(length, device=x.device)
    hidden_from_query = (position[None, :] > position[:, None]).repeat(group, 1)
    scores = torch.bmm(q, k).float() * arch.head_dim**-0.5
    weights = scores.masked_fill(hidden_from_query, float("-inf")).softmax(-1).to(x.dtype)
    mixed = torch.bmm(weights, v).view(batch, arch.kv_heads, group, length, arch.head_dim)
    return F.linear(mixed.permute(0, 3, 1, 2, 4).reshape(batch, length, -1), w.output)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # row counts per expert are data: a compiled graph has to break here
def sort_by_expert(chosen: Tensor, experts: int) -> tuple[Tensor, Tensor]:
    """Order that groups the (token, choice) pairs `[tokens * top_k]` by expert, and where each group ends (int32)."""
    flat = chosen.flatten()
    ends = torch.bincount(flat, minlength=experts).cumsum(0).to(torch.int32)
    return flat.argsort(stable=True), ends


@torch.compiler.disable  # type: ignore[untyped-decorator]
def grouped_linear(rows: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """`rows[start:end] @ weight[e].T` for each expert e; `weight` is `[experts, out, in]`."""
    return F.grouped_mm(rows, weight.transpose(-2, -1), offs=ends)


def experts_forward(x: Tensor, w: LayerWeights, arch: Architecture) -> tuple[Tensor, Trace]:
    """Top-k mixture of experts over `[batch, seq, hidden]`; weights are the softmax renormalised over the chosen.

    Tokens are sorted by expert, so each expert is one matrix product and nothing is padded or dropped. The shares
    scale the inner activations, not the outputs: the same function, but it fuses with the activation.
    """
    flat = x.reshape(-1, arch.hidden)
    logits = F.linear(flat, w.router).float()
    top, chosen = logits.softmax(-1).topk(arch.top_k, -1)
    share = (top / top.sum(-1, keepdim=True)).to(x.dtype)
    order, ends = sort_by_expert(chosen, arch.experts)
    token = order // arch.top_k
    both = grouped_linear(flat.index_select(0, token), w.gate_up, ends)
    inner = gated(both) * share.flatten().index_select(0, order)[:, None]
    mixed = torch.zeros_like(flat).index_add(0, token, grouped_linear(inner, w.down, ends))
    shape = (*x.shape[:2], -1)
    return mixed.view_as(x), Trace(x, logits.view(shape), chosen.view(shape))


def gated(both: Tensor) -> Tensor:
    """SiLU of the first half of the last axis times the second half."""
    gate, up = both.chunk(2, -1)
    return F.silu(gate) * up


def dense_forward(x: Tensor, w: LayerWeights) -> Tensor:
    """Gated feed-forward block, `[batch, seq, hidden]` to the same."""
    return F.linear(gated(F.linear(x, w.gate_up)), w.down)


def block(x: Tensor, w: LayerWeights, cos: Tensor, sin: Tensor, arch: Architecture) -> tuple[Tensor, Trace]:
    """One pre-norm decoder layer."""
    x = x + attention(rms_norm(x, w.attention_norm, arch.norm_eps), w, cos, sin, arch)
    normed = rms_norm(x, w.mlp_norm, arch.norm_eps)
    if not arch.experts:
        return x + dense_forward(normed, w), Trace(normed, None, None)
    mixed, trace = experts_forward(normed, w, arch)
    return x + mixed, trace


class Decoder(nn.Module):
    """A causal language model over stacked layer parameters; output weights are the embedding (tied).

    Parameters are fp32 master weights. `forward` returns final hidden states, not logits: the loss reads them in
    chunks, and evaluation needs the logits of few positions.
    """

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        layers, hidden, inner = arch.layers, arch.hidden, arch.intermediate
        attended = arch.heads * arch.head_dim
        packed = attended + 2 * arch.kv_heads * arch.head_dim
        per_expert = (layers, arch.experts) if arch.experts else (layers,)
        self.embedding = nn.Parameter(torch.randn(arch.vocab, hidden) * 0.02)
        self.attention_norm = nn.Parameter(torch.ones(layers, hidden))
        self.query_key_value = nn.Parameter(torch.randn(layers, packed, hidden) * hidden**-0.5)
        self.output = nn.Parameter(torch.zeros(layers, hidden, attended))
        self.mlp_norm = nn.Parameter(torch.ones(layers, hidden))
        self.router = nn.Parameter(torch.randn(layers, arch.experts, hidden) * 0.02)
        self.gate_up = nn.Parameter(torch.randn(*per_expert, 2 * inner, hidden) * hidden**-0.5)
        self.down = nn.Parameter(torch.zeros(*per_expert, hidden, inner))
        self.norm = nn.Parameter(torch.ones(hidden))

    def layers(self) -> list[LayerWeights]:
        """The stacked parameters, one `LayerWeights` of views per layer."""
        stacked = [getattr(self, name) for name in LayerWeights._fields]
        return [LayerWeights(*parts) for parts in zip(*(tensor.unbind(0) for tensor in stacked), strict=True)]

    def forward(self, tokens: Tensor, run_block: BlockFunction = block) -> tuple[Tensor, list[Trace]]:
        """Final hidden states `[batch, seq, hidden]` and each layer's trace for `tokens` `[batch, seq]`."""
        cos, sin = rotary_tables(self.arch, tokens.shape[1], tokens.device)
        x = F.embedding(tokens, self.embedding)
        traces: list[Trace] = []
        for weights in self.layers():
            x, trace = run_block(x, weights, cos, sin, self.arch)
            traces.append(trace)
        return rms_norm(x, self.norm, self.arch.norm_eps), traces

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits `[..., vocab]` of final hidden states `[..., hidden]`."""
        return F.linear(hidden, self.embedding)
