"""Continued prompts are what greedy decoding gives, whatever the rows beside them."""

import torch

from systems.api import Costs, SystemConfig
from systems.compose.build import build_system
from systems.modeling.decoder import Decoder
from systems.modeling.experts import CachedExperts
from systems.runtime.continuation import continued
from systems.runtime.pair import Pair

PROMPTS = [[1, 2, 3, 4, 5], [7, 8]]


def test_prompts_go_on_greedily(pair: Pair) -> None:
    costs = Costs({1: 0.0}, {1: 0.0}, 0.0, 0.0)
    system = build_system(SystemConfig("all", "", residency={"part": "all"}), pair, 0, None, costs)
    try:
        mixer = CachedExperts(system.cache)  # type: ignore[attr-defined]
        found = continued(pair, mixer, PROMPTS, 6)
        for prompt, row in zip(PROMPTS, found, strict=True):
            assert row[: len(prompt)] == prompt
            assert len(row) == len(prompt) + 6
            for end in range(len(prompt), len(row)):
                with torch.inference_mode():
                    logits = Decoder(pair.target, 1, end).prefill(0, row[:end])
                assert row[end] == int(logits.argmax())
    finally:
        system.close()
