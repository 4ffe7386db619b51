"""The shipped pair is what the bench builds on: loadable offline, aligned, within its size, not random."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoTokenizer, MistralForCausalLM, MixtralForCausalLM

from models.corpus import solved
from models.exercises import generate
from systems.files.compact import unfolded

PAIR = Path(__file__).parents[2] / "models" / "reference"


def test_the_pair_is_layer_aligned_and_within_its_size() -> None:
    target, draft = (AutoConfig.from_pretrained(PAIR / name) for name in ("target", "draft"))
    for name in ("hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads", "num_key_value_heads"):
        assert getattr(target, name) == getattr(draft, name)
    assert (target.num_local_experts, target.num_experts_per_tok) == (16, 2)
    assert sum(path.stat().st_size for path in PAIR.glob("*/*.safetensors")) <= 48 * 2**20


def test_a_prompts_tokens_stay_when_the_solution_follows() -> None:
    """Prompts end in a newline; were it merged with what follows, the model would meet a token it never saw there."""
    tokenizer = AutoTokenizer.from_pretrained(PAIR)
    assert tokenizer.eos_token_id == tokenizer.pad_token_id is not None
    assert len(tokenizer.encode("\n        return x")) == 4
    for exercise in generate("held_out", 50, 99):
        prompt = tokenizer.encode(exercise.prompt)
        assert tokenizer.encode(solved(exercise))[: len(prompt)] == prompt


def test_both_models_have_learned_exercises_and_agree() -> None:
    tokenizer = AutoTokenizer.from_pretrained(PAIR)
    target = MixtralForCausalLM.from_pretrained(unfolded(PAIR / "target"), dtype=torch.float32)
    draft = MistralForCausalLM.from_pretrained(unfolded(PAIR / "draft"), dtype=torch.float32)
    losses: list[float] = []
    agreements: list[float] = []
    for exercise in generate("held_out", 8, 99):
        tokens = torch.tensor([tokenizer.encode(solved(exercise))])
        with torch.no_grad():
            theirs, ours = target(tokens).logits[0], draft(tokens).logits[0]
        losses.append(float(F.cross_entropy(theirs[:-1], tokens[0, 1:])))
        agreements.append(float((theirs.argmax(-1) == ours.argmax(-1)).float().mean()))
    assert sum(losses) / len(losses) < 0.25 * math.log(2048)
    assert sum(agreements) / len(agreements) > 0.75
