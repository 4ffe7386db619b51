"""transformers' own `generate` with all experts resident: what a user gets without any of this."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from systems.api import Meter, NullMeter, Request
from systems.runtime.pair import Pair, load_model


class _Enough(Exception):
    """Raised inside `generate` when the meter wants no more."""


class _Streamer:
    """Hands each token over when `generate` has chosen it; the first call carries the prompt."""

    def __init__(self, meter: Meter, row: int) -> None:
        self._meter, self._row = meter, row
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        """Receive the prompt, then one token at a time."""
        if not self._prompt_seen:
            self._prompt_seen = True
        elif self._meter.commit(self._row, value.reshape(-1).tolist()):
            raise _Enough

    def end(self) -> None:
        """Generation has ended."""


class TransformersGenerate:
    """`systems.api.System` around `model.generate`; a batch runs request by request, as streamers require.

    The model is a second copy of the target, stock experts included. It has no notion of steps or expert
    traffic, so only its tokens and their times are reported, all of them as verification.
    """

    def __init__(self, pair: Pair) -> None:
        self._model = load_model(Path(pair.config.target), getattr(torch, pair.config.dtype), pair.device)
        self.fast_bytes = pair.expert_bytes

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], meter: Meter) -> None:
        """Generate greedily or by sampling, as each request asks."""
        for row, request in enumerate(requests):
            prompt = torch.tensor([request.prompt], device=self._model.device)
            sampling = request.sampling
            choice: dict[str, Any] = {"do_sample": False}
            if sampling.temperature:
                torch.manual_seed(sampling.seed)
                choice = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p}
                choice["top_k"] = sampling.top_k or None
            try:
                with meter.span("verify"):
                    self._model.generate(
                        prompt,
                        attention_mask=torch.ones_like(prompt),
                        max_new_tokens=request.max_new_tokens,
                        streamer=_Streamer(meter, row),
                        **choice,
                    )
            except _Enough:
                continue

    def calibrate(self, requests: Sequence[Request]) -> None:
        """Warm up."""
        self.generate(requests, NullMeter([request.max_new_tokens for request in requests]))

    def describe(self) -> dict[str, Any]:
        """Which experts implementation transformers chose."""
        return {"fast_bytes": self.fast_bytes, "experts_implementation": self._model.config._experts_implementation}

    def close(self) -> None:
        """Drop the model."""
        self._model = None
