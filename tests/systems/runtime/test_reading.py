"""Prompts read together: the same logits, keys and values as one by one, their experts asked for once per layer."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from systems.modeling.decoder import Decoder
from systems.modeling.experts import Arithmetic
from systems.runtime.pair import Pair
from systems.runtime.reading import read
from systems.runtime.together import AT_ONCE, together
from tests.systems.tiny import requests

PROMPTS = [list(request.prompt) for request in requests(4, seed=9)]
"""Of different lengths."""


class Experts:
    """A mixer without weights, whose result depends on the experts chosen; notes the tokens of every call."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls: list[tuple[int, int]] = []
        self._fail_at = fail_at

    def __call__(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
        if layer == self._fail_at:
            raise RuntimeError("expert is missing")
        self.calls.append((layer, len(hidden)))
        return hidden * (chosen * weights).sum(-1, keepdim=True)


def prompts_running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prompt"]


@torch.inference_mode()
def test_prompts_are_read_as_if_alone_and_meet_at_every_layer(pair: Pair) -> None:
    alone, met = Decoder(pair.target, 6, 32), Decoder(pair.target, 6, 32)
    pair.port.mixer = experts = Experts()
    one_by_one = [alone.prefill(row, prompt) for row, prompt in enumerate(PROMPTS, 2)]
    experts.calls.clear()
    found = read(met, 2, PROMPTS)
    tokens = sum(map(len, PROMPTS))
    assert experts.calls == [(layer, tokens) for layer in range(pair.num_layers)], "no padding among them"
    assert all(map(torch.equal, found, one_by_one))
    following = torch.arange(8).view(4, 2)
    starts = [len(prompt) for prompt in PROMPTS]
    for decoder in (alone, met):
        decoder.prefill(0, PROMPTS[0])
        decoder.prefill(1, PROMPTS[1])
    rows = torch.cat([torch.zeros(2, 2, dtype=torch.long), following]), [*starts[:2], *starts]
    assert torch.equal(alone.forward(*rows), met.forward(*rows)), "keys and values are the same"
    assert pair.port.mixer is experts
    assert prompts_running() == []


@pytest.mark.parametrize("layer", [0, 2])
def test_experts_that_fail_end_every_forward(layer: int, pair: Pair) -> None:
    pair.port.mixer = experts = Experts(fail_at=layer)
    with pytest.raises(RuntimeError, match="expert is missing"):
        read(Decoder(pair.target, 4, 32), 0, PROMPTS)
    assert pair.port.mixer is experts
    assert prompts_running() == []


def test_a_forward_that_fails_ends_the_others(pair: Pair) -> None:
    pair.port.mixer = Experts()
    with pytest.raises(ValueError, match="position 14 is beyond the cache's 12"):
        read(Decoder(pair.target, 4, 12), 0, PROMPTS)
    assert prompts_running() == []


def test_a_model_without_offloaded_experts_reads_one_by_one(pair: Pair) -> None:
    found = read(Decoder(pair.draft, 4, 32), 0, PROMPTS)
    expected: list[Any] = [Decoder(pair.draft, 1, 32).prefill(0, prompt) for prompt in PROMPTS]
    with torch.inference_mode():
        assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([4], ["0-1"]),
        ([4, 4, 2], ["0-3"]),
        ([4, 4, 3], ["0-2", "2-3"]),
        ([30, 1, 1], ["0-1", "1-3"]),
        ([1, 30, 1], ["0-1", "1-2", "2-3"]),
        ([10, 10], ["0-1", "1-2"]),
    ],
)
def test_neighbours_are_read_together_up_to_so_many_tokens(lengths: list[int], groups: list[str]) -> None:
    found = together(lengths, 10)
    assert [f"{some.start}-{some.stop}" for some in found] == groups
    assert together([AT_ONCE, 1]) == [slice(0, 1), slice(1, 2)]


def test_nothing_to_read_is_refused() -> None:
    with pytest.raises(ValueError, match="no prompt"):
        together([])
