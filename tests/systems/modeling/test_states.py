"""Models that keep more of a text than keys and values at positions: rejected drafts are undone exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models import moe_families
from systems.api import ModelConfig, Request, load_pair
from systems.modeling.decoder import Decoder, at_once
from tests.systems.test_exactness import plain, run
from tests.systems.tiny import SYSTEMS, requests


@pytest.fixture(scope="module", params=["qwen3_next", "deepseek_v4"])
def pair(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    moe_families.save(folder, request.param)
    found: Any = load_pair(ModelConfig(request.param, "target", "draft", "."), folder)
    found.folder = folder
    return found


@pytest.fixture(scope="module")
def expected(pair: Any) -> list[list[int]]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(pair.folder / "target", experts_implementation="eager").eval()
    return [plain(model, request) for request in batch()]


def batch() -> list[Request]:
    """Prompts of 5, 8 and 11 tokens."""
    return requests(3, 8)


@pytest.mark.parametrize("name", ["prompt_lookup", "spec_moe", "sd_offload"])
def test_whatever_drafts_is_exact(name: str, pair: Any, expected: list[list[int]]) -> None:
    """By n-grams of ragged lengths, by the target itself over the same states, by a model."""
    meter, facts = run(SYSTEMS[name], pair, batch(), slots=pair.store.shape.count)
    assert meter.tokens == expected
    assert facts.get("reads") == (None if at_once(pair.target) else "token by token")


def test_going_back_further_than_is_kept_is_an_error(pair: Any) -> None:
    decoder = Decoder(pair.target, 1, 40)
    with torch.inference_mode():
        decoder.prefill(0, [1, 2, 3])
        for position in range(3, 20):
            decoder.forward(torch.tensor([[1]]), [position])
        with pytest.raises(ValueError, match="position 5"):
            decoder.forward(torch.tensor([[1]]), [5])


def test_what_is_kept_does_not_grow_with_the_text(pair: Any, tmp_path: Path) -> None:
    """States are kept for as many positions as drafts reach, and bytes of keys and values are those of a position."""
    assert 0 <= pair.position_bytes < pair.non_expert_bytes
    if not at_once(pair.target):
        return
    decoder: Any = Decoder(pair.target, 1, 64)
    sizes = set()
    with torch.inference_mode():
        decoder.prefill(0, [1, 2, 3])
        for position in range(3, 20):
            decoder.forward(torch.tensor([[1]]), [position])
            sizes.add(decoder._cache.states.nbytes)
    assert len(sizes) == 1
    assert sizes.pop() > 0
