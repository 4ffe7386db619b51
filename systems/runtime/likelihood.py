"""How likely a system finds a text: it is read as the system decodes, its tokens given instead of chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from systems.cache.expert_cache import ExpertCache
from systems.modeling.decoder import Decoder
from systems.policies.listening import Listener


@torch.inference_mode()
def log_likelihood(
    target: Any, cache: ExpertCache, listener: Listener, tokens: Sequence[int], width: int
) -> list[float]:
    """Return the log-probability (nats) of every token but the first, given those before it.

    Args:
        width: tokens per forward: as many as a verification reads, since what is lossy may depend on it.
    """
    decoder = Decoder(target, 1, len(tokens) + width)
    cache.enter("prefill")
    listener.begin(1)
    listener.reading(0, [1])
    logits = [decoder.prefill(0, tokens[:1])[None]]
    cache.enter("decode")
    listener.decoding()
    for start in range(1, len(tokens) - 1, width):
        part = torch.tensor([tokens[start : start + width]], device=decoder.device)
        logits.append(decoder.forward(part, [start])[0])
        cache.end_step()
        listener.end_step()
    listener.end()
    cache.end_generation()
    cache.take_traffic()
    scores = torch.cat(logits)[: len(tokens) - 1].float().log_softmax(-1)
    following = torch.tensor(tokens[1:], device=scores.device)
    found: list[float] = scores.gather(1, following[:, None])[:, 0].tolist()
    return found
