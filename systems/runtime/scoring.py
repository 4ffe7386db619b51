"""What the target thinks of a text, by plain transformers: the judge of outputs that differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from systems.runtime.pair import Pair, load_model
from systems.runtime.vocabulary import end_logits


@torch.inference_mode()
def next_logits(pair: Pair, texts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return the target's logits `(V,)` of the token after each text.

    The model is loaded anew, with all its experts and none of our code. Its weights are rounded to the pair's dtype,
    as they were when the outputs were made; the arithmetic is in float32, which leaves their rounding out.
    """
    model = load_model(Path(pair.config.target), getattr(torch, pair.config.dtype), pair.device).float()
    end_logits(model, pair.vocab_size)
    last = (model(torch.tensor([list(text)], device=pair.device)).logits[0, -1] for text in texts)
    return [cast("list[float]", logits.tolist()) for logits in last]
