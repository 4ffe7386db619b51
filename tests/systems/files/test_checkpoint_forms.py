"""What checkpoints hold besides a model's layers, and in which form: none of it changes what the model computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import moe_families
from systems.api import BadInput, LinkSpec, ModelConfig, NullMeter, Request, SystemConfig, build_system, load_pair
from systems.modeling.experts import CachedExperts
from tests.systems.tiny import COSTS, save_draft, save_target, save_tokenizer

LINK = LinkSpec(1e9, 0.0, virtual=True)
DRAFTING = SystemConfig("sd_offload", "", drafter={"part": "model", "draft_length": 3})


def logits(root: Path, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a pair's target, and those of stock transformers."""
    from transformers import AutoModelForCausalLM

    pair: Any = load_pair(ModelConfig("tiny", "target", None, ".", operators="stock"), root)
    system: Any = build_system(SystemConfig("offload", ""), pair, pair.expert_bytes, LINK, COSTS)
    pair.port.mixer = CachedExperts(system.cache)
    with torch.inference_mode():
        ours = pair.target(text).logits
        stock: Any = AutoModelForCausalLM.from_pretrained(root / "target", experts_implementation="eager").eval()
        theirs = stock(text).logits
    system.close()
    pair.close()
    return ours, theirs


@pytest.mark.parametrize(
    ("family", "source", "beside"),
    [
        ("exaone_moe", "model.layers.1.", "mtp.layers.1."),  # of the number of a layer that it is not
        ("deepseek_v3", "model.layers.3.", "model.layers.4."),  # behind the model's last
    ],
)
def test_layers_for_multi_token_prediction_are_no_layers_of_the_model(
    family: str, source: str, beside: str, tmp_path: Path
) -> None:
    moe_families.save(tmp_path, family)
    file = tmp_path / "target" / "model.safetensors"
    tensors = load_file(file)
    others = {beside + name.removeprefix(source): -data for name, data in tensors.items() if name.startswith(source)}
    assert any("experts" in name for name in others)
    save_file(tensors | others, file, metadata={"format": "pt"})
    for kind in ("ram", "checkpoint"):
        pair: Any = load_pair(ModelConfig("tiny", "target", None, ".", "float32", kind), tmp_path)  # type: ignore[arg-type]
        assert pair.num_layers == 3
        pair.close()
    ours, theirs = logits(tmp_path, torch.tensor([[1, 2, 3, 4, 5, 6]]))
    assert torch.equal(ours, theirs)


def test_a_checkpoint_that_lacks_an_expert_is_refused(tmp_path: Path) -> None:
    save_target(tmp_path / "target")
    save_tokenizer(tmp_path)
    file = tmp_path / "target" / "model.safetensors"
    tensors = load_file(file)
    gone = next(name for name in tensors if ".experts.7." in name and ".w2." in name)
    save_file({name: data for name, data in tensors.items() if name != gone}, file, metadata={"format": "pt"})
    for kind in ("ram", "checkpoint"):
        with pytest.raises(BadInput, match="target"):
            load_pair(ModelConfig("tiny", "target", None, ".", "float32", kind), tmp_path)  # type: ignore[arg-type]


def test_a_checkpoint_that_lacks_anything_else_is_refused(tmp_path: Path) -> None:
    """transformers would fill it with random numbers, and say so in a warning."""
    save_target(tmp_path / "target")
    save_tokenizer(tmp_path)
    file = tmp_path / "target" / "model.safetensors"
    tensors = load_file(file)
    save_file({name: data for name, data in tensors.items() if "q_proj" not in name}, file, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"lacks .*q_proj"):
        load_pair(ModelConfig("tiny", "target", None, "."), tmp_path)


ROTARY = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "short_mscale": 1.0,
    "long_mscale": 1.3,
    "original_max_position_embeddings": 32,
}


def test_texts_end_where_rotary_frequencies_change(tmp_path: Path) -> None:
    """Keys that were cached before would be wrong behind. Drafts may reach beyond, and must not turn what is before."""
    stock = save_target(tmp_path / "target", "phimoe", rope_parameters=ROTARY, original_max_position_embeddings=32)
    save_draft(tmp_path / "draft", stock)
    save_tokenizer(tmp_path)
    pair: Any = load_pair(ModelConfig("tiny", "target", "draft", "."), tmp_path)
    assert pair.context_length == 32
    prompt = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4)
    system = build_system(DRAFTING, pair, pair.draft_bytes + pair.expert_bytes, LINK, COSTS)
    meter = NullMeter([12])
    system.generate([Request("a", prompt, 12)], meter)
    tokens = torch.tensor([prompt])
    mask = torch.ones_like(tokens)
    expected = stock.generate(tokens, attention_mask=mask, max_new_tokens=12, do_sample=False, pad_token_id=0)
    assert meter.tokens[0] == expected[0, 20:].tolist()
    system.close()


def test_a_model_that_our_cache_does_not_serve_is_read_by_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by trying, when it is loaded: here the states that it goes back to are stale."""
    from systems.modeling.decoder import at_once
    from systems.modeling.states import States

    moe_families.save(tmp_path, "qwen3_next")
    pair: Any = load_pair(ModelConfig("tiny", "target", None, "."), tmp_path)
    assert at_once(pair.target)
    monkeypatch.setattr(States, "_places", lambda self, read, places: [0 for _ in self._starts])
    pair = load_pair(ModelConfig("tiny", "target", None, "."), tmp_path)
    assert not at_once(pair.target)


def test_experts_of_an_unknown_body_are_refused_by_name(tmp_path: Path) -> None:
    moe_families.save(tmp_path, "doge")
    with pytest.raises(BadInput, match="doge has experts that are computed in a way that the runtime does not know"):
        load_pair(ModelConfig("tiny", "target", None, "."), tmp_path)
