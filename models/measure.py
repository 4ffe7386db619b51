"""What a draft and a target say about each other, from teacher-forced passes over the target's own greedy outputs.

Greedy speculation always commits the target's greedy sequence. So what the draft proposes while its proposals are
right is its argmax on that sequence, and one pass of each model per prompt yields the exact acceptance, at any draft
length, without running the loop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def walk(matches: Sequence[bool], draft_length: int) -> tuple[int, int, int]:
    """(drafted, accepted, steps) of greedy speculation where `matches[t]` says that draft and target agree on token t.

    Each step drafts at most what is left of the sequence after its bonus token.
    """
    position, drafted, accepted, steps = 0, 0, 0, 0
    while position < len(matches):
        proposed = matches[position : position + min(draft_length, len(matches) - position - 1)]
        right = next((i for i, match in enumerate(proposed) if not match), len(proposed))
        drafted, accepted, steps = drafted + len(proposed), accepted + right, steps + 1
        position += right + 1
    return drafted, accepted, steps


def is_degenerate(tokens: Sequence[int], tail: int = 32, longest_period: int = 4) -> bool:
    """Whether the last `tail` tokens repeat with a period of at most `longest_period`."""
    end = list(tokens[-tail:])
    if len(end) < tail:
        return False
    return any(end[period:] == end[:-period] for period in range(1, longest_period + 1))


def lru_hits(chosen: Tensor, slots: int) -> tuple[int, int]:
    """(hits, requests) of one layer's least-recently-used cache of `slots` experts over `chosen` `[tokens, top_k]`."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for token in chosen.tolist():
        for expert in token:
            hits += expert in cache
            cache[expert] = None
            cache.move_to_end(expert)
        while len(cache) > slots:
            cache.popitem(last=False)
    return hits, chosen.numel()


def overlap(predicted: Tensor, actual: Tensor) -> Tensor:
    """Share of each row of `actual` `[..., k]` that is in the same row of `predicted` `[..., k]`."""
    return (actual[..., :, None] == predicted[..., None, :]).any(-1).float().mean(-1)


def distinct_experts(chosen: Tensor, tokens: int) -> float:
    """Mean number of distinct experts of one layer over windows of `tokens` consecutive rows of `chosen`."""
    windows = chosen.unfold(0, tokens, 1).flatten(1).tolist()
    return sum(len(set(window)) for window in windows) / max(1, len(windows))


class Capture:
    """Keeps the outputs of some modules during a forward pass: `with Capture(modules) as outputs: model(...)`."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = modules

    def __enter__(self) -> list[Tensor]:
        outputs: list[Tensor] = []
        self.hooks = [
            module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
            for module in self.modules
        ]
        return outputs

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The decoder layers of a transformers causal language model."""
    return list(model.get_submodule("model.layers").children())


@torch.no_grad()
def feed_forward_inputs(model: nn.Module, tokens: Tensor) -> tuple[list[Tensor], Tensor]:
    """Each layer's post-attention norm output `[seq, hidden]` and the logits `[seq, vocab]` of `tokens` `[1, seq]`."""
    norms = [layer.get_submodule("post_attention_layernorm") for layer in layers_of(model)]
    with Capture(norms) as outputs:
        logits = model(tokens).logits[0]
    return [output[0] for output in outputs], logits


def gates_of(model: nn.Module) -> list[Tensor]:
    """The router weights `[experts, hidden]` of a Mixtral model, layer by layer."""
    return [layer.get_parameter("mlp.gate.weight") for layer in layers_of(model)]


def routed(features: list[Tensor], gates: list[Tensor], top_k: int) -> Tensor:
    """Experts that `gates` choose on `features`, `[layers, seq, top_k]`."""
    return torch.stack([F.linear(x, gate).topk(top_k, -1).indices for x, gate in zip(features, gates, strict=True)])
