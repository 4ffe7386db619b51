"""A dense model with as many active weights as a target: the control of what sparsity does to speculation (MoESD)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from typing import Any

import torch

from systems.contract.pair import ModelPair
from systems.modeling.decoder import Decoder
from systems.modeling.learning import read_along
from systems.operators.fusing import fuse
from systems.runtime.pair import Pair, loaded

_REPEATS = 5


def dense_model(pair: Pair) -> Any:
    """Return a Mistral of the target's shape, its MLP as wide as the experts of one token, with random weights; it
    computes by the operators that the target does."""
    from transformers import MistralConfig, MistralForCausalLM

    target, shape = pair.target.config.get_text_config(), pair.store.shape
    config = MistralConfig(
        vocab_size=target.vocab_size,
        hidden_size=shape.hidden,
        intermediate_size=pair.top_k * shape.intermediate,
        num_hidden_layers=target.num_hidden_layers,
        num_attention_heads=target.num_attention_heads,
        num_key_value_heads=target.num_key_value_heads,
        head_dim=getattr(target, "head_dim", None) or shape.hidden // target.num_attention_heads,
        max_position_embeddings=target.max_position_embeddings,
        sliding_window=None,
    )
    model = MistralForCausalLM(config).to(pair.store.dtype).to(pair.device).eval()
    if pair.config.operators != "stock":
        fuse(model, read_along)
    return model


@torch.inference_mode()
def dense_forward_times(
    pair: ModelPair, sizes: Iterable[tuple[int, int]], context: int
) -> dict[tuple[int, int], float]:
    """Return the median time (s) of forwards of `(rows, tokens each)` behind `context` positions, of a dense model with
    random weights that has the target's shape and as many active weights."""
    model, times = dense_model(loaded(pair)), {}
    for rows, width in sizes:
        decoder = Decoder(model, rows, context + width)
        tokens = torch.randint(model.config.vocab_size, (rows, context + width), device=decoder.device)
        decoder.forward(tokens[:, :context], [0] * rows)
        times[rows, width] = statistics.median(_timed(decoder, tokens[:, context:], context) for _ in range(_REPEATS))
    return times


def _timed(decoder: Decoder, tokens: torch.Tensor, context: int) -> float:
    start = time.perf_counter()
    decoder.forward(tokens, [context] * len(tokens))[0, -1, 0].item()
    return time.perf_counter() - start
