"""Configs of tiny models of any family: what most families call their sizes, and what some call otherwise."""

from __future__ import annotations

from typing import Any

VOCABULARY = 16
"""So few tokens that a random draft and target agree now and then."""
WINDOW = 8
"""Sliding windows and chunks of attention, in tokens."""
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 24,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 16,
    "shared_experts_intermediate_size": 16,
    "shared_intermediate_size": 16,
    "moe_shared_expert_intermediate_size": 16,
    "dense_intermediate_size": 40,
    "intermediate_size_mlp": 40,
    "num_experts": 8,
    "num_local_experts": 8,
    "n_routed_experts": 8,
    "moe_num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_topk": 3,
    "moe_k": 3,
    "top_k_experts": 3,
    "n_shared_experts": 1,
    "num_shared_experts": 1,
    "moe_num_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "sliding_window": WINDOW,
    "sliding_window_size": WINDOW,
    "attention_chunk_size": WINDOW,
    "index_topk": 64,
    "index_head_dim": 8,
    "index_n_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "initializer_range": 0.3,
    "num_mtp_layers": 0,
    "num_nextn_predict_layers": 0,
}
_ALTERNATING = ["linear_attention", "full_attention"] * 2
_MLA = {"num_key_value_heads": 4}
_OTHERS: dict[str, dict[str, Any]] = {
    "axk1": _MLA,
    "axk2": _MLA | {"gated_norm_rank": 4},
    "bailing_hybrid": _MLA | {"layer_types": _ALTERNATING},
    "dbrx": {
        "d_model": 32,
        "n_heads": 4,
        "n_layers": 4,
        "max_seq_len": 256,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 24, "moe_num_experts": 8, "moe_top_k": 2},
    },
    "deepseek_v2": _MLA,
    "deepseek_v3": _MLA,
    "deepseek_v32": _MLA,
    "deepseek_v4": {"num_key_value_heads": 1, "head_dim": 16, "o_groups": 2, "o_lora_rank": 8, "hc_mult": 2},
    "doge": {"is_moe": True, "num_experts": 16},
    "dots3_note_text": _MLA,
    "gemma4_text": {"enable_moe_block": True, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0},
    "glm4_moe_lite": _MLA,
    "glm_moe_dsa": _MLA,
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"] * 2,
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
    },
    "hy_v4": _MLA | {"hc_mult": 2},
    "inkling2_text": {
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 8,
        "d_rel": 4,
        "rel_extent": 16,
        "log_scaling_n_floor": 8,
        "n_layers_per_attn_res_block": 2,
    },
    "inkling_text": {
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 8,
        "d_rel": 4,
        "rel_extent": 16,
        "log_scaling_n_floor": 8,
    },
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "use_mamba_kernels": False,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
    },
    "jetmoe": {"kv_channels": 8},
    "kimi_linear": _MLA
    | {"q_lora_rank": None, "layer_types": _ALTERNATING, "linear_head_dim": 8, "linear_num_heads": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "llama4_text": {"num_experts_per_tok": 1, "floor_scale": 4, "moe_layers": None},
    "longcat_flash": {"num_layers": 2, "ffn_hidden_size": 40, "expert_ffn_hidden_size": 24, "zero_expert_num": 4}
    | {"num_key_value_heads": 4, "num_hidden_layers": 4},
    "minimax": {"block_size": 4},
    "minimax_m3_vl_text": {
        "layer_types": ["full_attention", "minimax_m3_sparse"] * 2,
        "rotary_dim": 4,
        "index_block_size": 4,
        "index_topk_blocks": 2,
    },
    "nemotron_h": {
        "layers_block_type": ["mamba", "moe", "attention", "moe"],
        "use_mamba_kernels": False,
        "ssm_state_size": 8,
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "n_groups": 2,
        "chunk_size": 8,
    },
    "qwen3_5_moe_text": {"layer_types": _ALTERNATING},
    "qwen3_next": {"layer_types": _ALTERNATING},
    "qwen4_exp_text": {
        "layer_types": _ALTERNATING,
        "hc_count": 2,
        "hc_lowrank": 8,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "qwen2_moe": {"use_sliding_window": True, "max_window_layers": 2},
    "qwen3_moe": {"use_sliding_window": True, "max_window_layers": 2},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 8},
}


def tiny_config(family: str) -> Any:
    """Return the config of a tiny model of a family, its windows shorter than a text."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind: Any = CONFIG_MAPPING[family]
    known = {name for base in kind.__mro__ for name in getattr(base, "__annotations__", {})} | set(kind.attribute_map)
    aliased = {kind.attribute_map[name] for name in _SIZES if name in kind.attribute_map}
    sizes = {name: value for name, value in _SIZES.items() if name in known and name not in aliased}
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    return kind(**{**sizes, **ends, **_OTHERS.get(family, {})})
