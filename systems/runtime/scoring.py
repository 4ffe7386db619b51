"""What the target thinks of a text, by plain transformers: the judge of outputs that differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from systems.runtime.pair import Pair, load_model


@torch.inference_mode()
def next_logits(pair: Pair, texts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return the target's logits `(V,)` of the token after each text.

    The model is loaded anew, with all its experts and none of our code. Its weights are rounded to the pair's dtype,
    as they were when the outputs were made; the arithmetic is in float32, which leaves their rounding out. A target
    that the device does not hold in float32 is judged on the host.
    """
    dtype: torch.dtype = getattr(torch, pair.config.dtype)
    device = _roomy(pair, (pair.expert_bytes + pair.non_expert_bytes) // dtype.itemsize * torch.float32.itemsize)
    model = load_model(Path(pair.config.target), dtype, "cpu").float().to(device)
    last = (model(torch.tensor([list(text)], device=device)).logits[0, -1] for text in texts)
    return [cast("list[float]", logits.tolist()) for logits in last]


def _roomy(pair: Pair, nbytes: int) -> torch.device:
    """The pair's device where that has so much room, else the host."""
    device = torch.device(pair.device)
    if device.type == "cpu":
        return device
    from systems.runtime.cuda import holds

    return device if holds(device, nbytes) else torch.device("cpu")
