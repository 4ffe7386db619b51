"""Tiny random checkpoints, made where a test runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from systems.api import Costs, HostCosts, ModelConfig, Request, SystemConfig, load_pair
from systems.runtime.pair import Pair

COSTS = Costs({1: 1e-3, 3: 1.5e-3}, {1: 5e-4}, 1e-3, 1e-5, HostCosts(2e-4))
VOCABULARY = 16
"""So few tokens that a random draft and target agree now and then: acceptance is ragged."""
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "initializer_range": 0.3,
    "eos_token_id": None,
    "bos_token_id": None,
    "pad_token_id": None,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 32},
    "qwen2_moe": {
        "num_experts": 8,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 24,
        "intermediate_size": 40,
        "shared_expert_intermediate_size": 16,
    },
    "qwen3_moe": {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "head_dim": 8},
    "olmoe": {"num_experts": 8, "num_experts_per_tok": 3, "intermediate_size": 24},
    "phimoe": {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 24},
    "deepseek_v2": {
        "n_routed_experts": 8,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 24,
        "intermediate_size": 40,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
        "kv_lora_rank": 16,
        "q_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "num_key_value_heads": 4,
    },
}


def save_target(folder: Path, family: str = "mixtral", seed: int = 0, **changes: Any) -> Any:
    """Save a random model of a family and return it as transformers loads it, with its own experts."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, **{**SIZES, **FAMILIES.get(family, {}), **changes})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder, experts_implementation="eager", dtype=torch.float32).eval()


def save_draft(folder: Path, target: Any = None, **changes: Any) -> None:
    """Save a dense model of the same depth and width; with a target, it shares all but the MLPs and agrees
    with it now and then."""
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(1)
    sizes = {**SIZES, "intermediate_size": 24, "head_dim": 8, "sliding_window": None, **changes}
    draft = MistralForCausalLM(MistralConfig(**sizes))
    if target is not None:
        draft.load_state_dict(target.state_dict(), strict=False)
        for layer in draft.model.layers:
            layer.mlp.down_proj.weight.data.mul_(0.1)
    draft.save_pretrained(folder)


def save_tokenizer(folder: Path) -> None:
    """Save a tokenizer of single-character tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: i for i, letter in enumerate(" abcdefghijklmn")} | {"<unk>": VOCABULARY - 1}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)


def make_pair(root: Path, store: str = "ram", family: str = "mixtral", draft: bool = True) -> Pair:
    """Save and load a tiny pair below `root`."""
    if not (root / "target").exists():
        save_draft(root / "draft", save_target(root / "target", family))
        save_tokenizer(root)
    config = ModelConfig("tiny", "target", "draft" if draft else None, ".", "float32", store)  # type: ignore[arg-type]
    pair = load_pair(config, root)
    assert isinstance(pair, Pair)
    return pair


def requests(count: int, new_tokens: int = 12, seed: int = 0, temperature: float = 0.0) -> list[Request]:
    """Random prompts of different lengths."""
    from systems.api import Sampling

    generator = torch.Generator().manual_seed(seed)
    prompts = [torch.randint(VOCABULARY, (5 + 3 * i,), generator=generator).tolist() for i in range(count)]
    return [Request(str(i), tuple(p), new_tokens, Sampling(temperature, seed=i)) for i, p in enumerate(prompts)]


def shipped(name: str) -> SystemConfig:
    """A system of `conf/system`, fitted to tiny experts and with drafts long enough to be ragged."""
    import yaml  # type: ignore[import-untyped]

    found: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    drafter = found.get("drafter", {"part": "none"})
    if drafter["part"] != "none":
        drafter |= {"draft_length": 3}
    if drafter["part"] == "quantised_self":
        drafter |= {"group": 32}
    if found.get("residency", {}).get("part") == "int4":
        found["residency"] |= {"group": 32}
    return SystemConfig(**found)


CONF = Path(__file__).parents[2] / "conf" / "system"
COMPOSED = [
    name
    for name in sorted(path.stem for path in CONF.glob("*.yaml"))
    if "engine" not in (CONF / f"{name}.yaml").read_text()
]
SYSTEMS = {name: shipped(name) for name in COMPOSED}
LOSSLESS = [name for name, system in SYSTEMS.items() if system.lossless]
