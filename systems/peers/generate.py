"""transformers' own `generate` with all experts resident: what a user gets without any of this."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from systems.api import Meter, NullMeter, Request, Sampling
from systems.runtime.pair import Pair, load_model


class _Enough(Exception):
    """Raised inside `generate` when the meter wants no more."""


class _Streamer:
    """Hands tokens over as `generate` puts them: the prompt first, then what each step has settled.

    The spans change hands with the first token, so that the prompt of a later row is not taken for decoding.
    """

    def __init__(self, meter: Meter, row: int, spans: ExitStack) -> None:
        self._meter, self._row, self._spans = meter, row, spans
        self._puts = 0

    def put(self, value: torch.Tensor) -> None:
        """Receive the prompt, then one or more tokens at a time."""
        self._puts += 1
        if self._puts == 1:
            return
        if self._meter.commit(self._row, value.reshape(-1).tolist()):
            raise _Enough
        if self._puts == 2:
            self._spans.enter_context(self._meter.span("verify"))

    def end(self) -> None:
        """Generation has ended."""


class TransformersGenerate:
    """`systems.api.System` around `model.generate`; a batch runs request by request, as streamers require.

    The model is a second copy of the target, stock experts included. It has no notion of steps or expert
    traffic, so only its tokens and their times are reported, all of them as verification.
    """

    def __init__(self, pair: Pair) -> None:
        self._model = load_model(Path(pair.config.target), getattr(torch, pair.config.dtype), pair.device)
        self._arguments: dict[str, Any] = {}
        self.fast_bytes = pair.expert_bytes

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], meter: Meter) -> None:
        """Generate greedily or by sampling, as each request asks."""
        for row, request in enumerate(requests):
            self._begin(meter)
            prompt = torch.tensor([request.prompt], device=self._model.device)
            try:
                with ExitStack() as spans:
                    spans.enter_context(meter.span("prefill"))
                    self._model.generate(
                        prompt,
                        attention_mask=torch.ones_like(prompt),
                        max_new_tokens=request.max_new_tokens,
                        streamer=_Streamer(meter, row, spans),
                        **_choice(request.sampling),
                        **self._arguments,
                    )
            except _Enough:
                continue

    def calibrate(self, requests: Sequence[Request]) -> None:
        """Warm up."""
        self.generate(requests, NullMeter([request.max_new_tokens for request in requests]))

    def now_ns(self) -> int:
        """This machine's time (ns)."""
        return time.perf_counter_ns()

    def rehearse(self, requests: Sequence[Request]) -> None:
        """Do nothing: peers know nothing beforehand."""

    def describe(self) -> dict[str, Any]:
        """Which experts implementation transformers chose."""
        return {"fast_bytes": self.fast_bytes, "experts_implementation": self._model.config._experts_implementation}

    def close(self) -> None:
        """Drop the model."""
        self._model = None

    def _begin(self, meter: Meter) -> None:
        """A request is about to start."""


def _choice(sampling: Sampling) -> dict[str, Any]:
    """The arguments of `generate` that stand for `sampling`; seeds the global generator, the only one it draws from."""
    if not sampling.temperature:
        return {"do_sample": False}
    torch.manual_seed(sampling.seed)
    return {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or None,
    }
