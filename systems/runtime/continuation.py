"""Prompts continued by the target itself: text on which experts are chosen as while requests are decoded."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from systems.modeling.decoder import Decoder
from systems.modeling.experts import Mixer
from systems.runtime.pair import Pair


@torch.inference_mode()
def continued(pair: Pair, mixer: Mixer, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[list[int]]:
    """Return each prompt with `new_tokens` greedy tokens behind it; tokens that end a sequence do not end it here.

    Args:
        mixer: computes the target's experts.
    """
    pair.port.mixer = mixer
    decoder = Decoder(pair.target, len(prompts), max(map(len, prompts)) + new_tokens)
    logits = torch.stack([decoder.prefill(row, prompt) for row, prompt in enumerate(prompts)])
    rows = [list(prompt) for prompt in prompts]
    for read in range(new_tokens):
        latest = logits.argmax(-1)
        for row, token in zip(rows, latest.tolist(), strict=True):
            row.append(token)
        if read < new_tokens - 1:
            logits = decoder.forward(latest[:, None], [len(row) - 1 for row in rows])[:, -1]
    return rows
