"""Write trained modules as transformers checkpoints: `MistralForCausalLM` (draft) and `MixtralForCausalLM` (target)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    GenerationConfig,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from models.transformer import Architecture, Decoder
from systems.files.compact import unfolded


def export(
    model: Decoder, end_token: int, dtype: torch.dtype = torch.bfloat16
) -> MistralForCausalLM | MixtralForCausalLM:
    """The transformers model with the weights of `model` in `dtype`, generating greedily by default."""
    kind = MixtralForCausalLM if model.arch.experts else MistralForCausalLM
    made = kind(configuration(model.arch, end_token))
    made.load_state_dict(state(model), strict=False)
    made.tie_weights()
    made.generation_config = GenerationConfig(
        do_sample=False, bos_token_id=end_token, eos_token_id=end_token, pad_token_id=end_token
    )
    for parameter in made.parameters():  # not `made.to`: that would round the rotary frequencies too
        parameter.data = parameter.data.to(dtype)
    made.config.dtype = dtype
    return made.eval()


def configuration(arch: Architecture, end_token: int) -> MistralConfig | MixtralConfig:
    """The transformers configuration of `arch`."""
    shared = {
        "vocab_size": arch.vocab,
        "hidden_size": arch.hidden,
        "intermediate_size": arch.intermediate,
        "num_hidden_layers": arch.layers,
        "num_attention_heads": arch.heads,
        "num_key_value_heads": arch.kv_heads,
        "head_dim": arch.head_dim,
        "max_position_embeddings": arch.max_positions,
        "rms_norm_eps": arch.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": arch.rope_theta},
        "sliding_window": None,
        "tie_word_embeddings": True,
        "bos_token_id": end_token,
        "eos_token_id": end_token,
        "pad_token_id": end_token,
    }
    if not arch.experts:
        return MistralConfig(**shared)
    return MixtralConfig(
        **shared, num_local_experts=arch.experts, num_experts_per_tok=arch.top_k, output_router_logits=False
    )


def state(model: Decoder) -> dict[str, Tensor]:
    """Parameters under transformers' module names (experts fused as the library keeps them in memory)."""
    arch = model.arch
    sizes = [arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim, arch.kv_heads * arch.head_dim]
    named: dict[str, Tensor] = {"model.embed_tokens.weight": model.embedding, "model.norm.weight": model.norm}
    for index, layer in enumerate(model.layers()):
        prefix = f"model.layers.{index}"
        query, key, value = layer.query_key_value.split(sizes)
        named[f"{prefix}.self_attn.q_proj.weight"] = query
        named[f"{prefix}.self_attn.k_proj.weight"] = key
        named[f"{prefix}.self_attn.v_proj.weight"] = value
        named[f"{prefix}.self_attn.o_proj.weight"] = layer.output
        named[f"{prefix}.input_layernorm.weight"] = layer.attention_norm
        named[f"{prefix}.post_attention_layernorm.weight"] = layer.mlp_norm
        if arch.experts:
            named[f"{prefix}.mlp.gate.weight"] = layer.router
            named[f"{prefix}.mlp.experts.gate_up_proj"] = layer.gate_up
            named[f"{prefix}.mlp.experts.down_proj"] = layer.down
        else:
            gate, up = layer.gate_up.chunk(2)
            named[f"{prefix}.mlp.gate_proj.weight"] = gate
            named[f"{prefix}.mlp.up_proj.weight"] = up
            named[f"{prefix}.mlp.down_proj.weight"] = layer.down
    return {name: tensor.detach() for name, tensor in named.items()}


def save(target: Decoder, draft: Decoder, end_token: int, folder: Path) -> None:
    """Write `folder/target` and `folder/draft` in bf16."""
    for name, model in (("target", target), ("draft", draft)):
        export(model, end_token).save_pretrained(folder / name)


def load(folder: Path) -> Decoder:
    """The module whose weights `save` wrote into `folder`, in fp32, to train it further."""
    folder = unfolded(folder)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    kind = MixtralForCausalLM if config.model_type == "mixtral" else MistralForCausalLM
    weights = kind.from_pretrained(folder, dtype=torch.float32, local_files_only=True).state_dict()
    model = Decoder(architecture(config))
    for name, tensor in state(model).items():
        tensor.copy_(weights[name])
    return model


def architecture(config: MistralConfig | MixtralConfig) -> Architecture:
    """The shape that `configuration` wrote."""
    return Architecture(
        vocab=config.vocab_size,
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        experts=getattr(config, "num_local_experts", 0),
        top_k=getattr(config, "num_experts_per_tok", Architecture.top_k),
        max_positions=config.max_position_embeddings,
        rope_theta=config.rope_parameters["rope_theta"],
        norm_eps=config.rms_norm_eps,
    )
