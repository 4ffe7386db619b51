"""What the target thinks of a text, by plain transformers: the judge of outputs that differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from systems.contract.errors import DidNotFit
from systems.contract.pair import ModelPair
from systems.files.model_files import overrides
from systems.files.vocabulary import end_logits
from systems.files.weight_files import checkpoint_files
from systems.modeling.loading import load_model
from systems.runtime.pair import Pair, loaded


@torch.inference_mode()
def next_logits(model_pair: ModelPair, texts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return the target's logits `(V,)` of the token after each text of token ids, by plain transformers.

    The model is loaded anew, with all its experts and none of our code. Its weights are rounded to the pair's dtype,
    as they were when the outputs were made; the arithmetic is in float32, which leaves their rounding out. A target
    that the device does not hold in float32 is judged on the host.
    """
    pair = loaded(model_pair)
    dtype: torch.dtype = getattr(torch, pair.config.dtype)
    device = _roomy(pair, (pair.expert_bytes + pair.non_expert_bytes) // dtype.itemsize * torch.float32.itemsize)
    model = load_model(Path(pair.config.target), dtype, "cpu").float().to(device)
    end_logits(model, pair.vocab_size)
    last = (model(torch.tensor([list(text)], device=device)).logits[0, -1] for text in texts)
    return [cast("list[float]", logits.tolist()) for logits in last]


def _roomy(pair: Pair, nbytes: int) -> torch.device:
    """The pair's device where that has so much room, else the host."""
    device = torch.device(pair.device)
    if device.type == "cpu":
        return device
    from systems.runtime.cuda import holds

    return device if holds(device, nbytes) else torch.device("cpu")


@torch.inference_mode()
def stock_ratings(
    model_pair: ModelPair, texts: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[list[tuple[int, float]]]:
    """Return for each token behind each prompt the likeliest one, and by how much that is likelier (logits).

    As `next_logits`, but in the pair's dtype, on the host: a second copy of the weights has to fit into its memory.

    Raises:
        DidNotFit: it does not.
    """
    import psutil

    pair = loaded(model_pair)
    folder = Path(pair.config.target)
    needed, free = sum(file.stat().st_size for file in checkpoint_files(folder)), psutil.virtual_memory().available
    if needed > free:
        raise DidNotFit(f"its weights take {needed >> 20} MiB of memory, {free >> 20} MiB are free")
    changes = overrides(pair.config, pair.num_experts, pair.target.config) | {"experts_implementation": "eager"}
    model = load_model(folder, getattr(torch, pair.config.dtype), "cpu", changes)
    end_logits(model, pair.vocab_size)
    return [_ratings(model, list(prompt), list(tokens)) for prompt, tokens in texts]


def _ratings(model: Any, prompt: list[int], tokens: list[int]) -> list[tuple[int, float]]:
    if not tokens:
        return []
    logits = model(torch.tensor([prompt + tokens[:-1]]), logits_to_keep=len(tokens)).logits[0].float()
    best = logits.max(-1)
    gaps = best.values - logits.gather(-1, torch.tensor(tokens)[:, None])[:, 0]
    return list(zip(best.indices.tolist(), gaps.tolist(), strict=True))
