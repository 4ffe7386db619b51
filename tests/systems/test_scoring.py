"""Outputs that differ are judged by plain transformers, with the weights of the run and float32 arithmetic."""

from pathlib import Path

import torch
from torch import Tensor

from systems.api import ModelConfig, load_pair, next_logits
from systems.runtime.pair import Pair
from tests.systems.tiny import requests

TEXTS = [request.prompt for request in requests(3)]


def expected(root: Path, dtype: torch.dtype) -> Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(root / "target", experts_implementation="eager", dtype=dtype)
    with torch.inference_mode():
        return torch.stack([model.float().eval()(torch.tensor([text])).logits[0, -1] for text in TEXTS])


def test_logits_are_those_of_transformers(root: Path, pair: Pair) -> None:
    assert torch.allclose(torch.tensor(next_logits(pair, TEXTS)), expected(root, torch.float32), atol=1e-5)


def test_weights_are_rounded_and_arithmetic_is_not(root: Path, pair: Pair) -> None:
    rounded = load_pair(ModelConfig("tiny", "target", "draft", ".", "bfloat16"), root)
    try:
        ours = torch.tensor(next_logits(rounded, TEXTS))
    finally:
        rounded.close()
    assert torch.allclose(ours, expected(root, torch.bfloat16), atol=1e-5)
    assert not torch.allclose(ours, expected(root, torch.float32), atol=1e-3)
    assert not torch.equal(ours, ours.bfloat16().float())
