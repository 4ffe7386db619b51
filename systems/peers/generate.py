"""transformers' own `generate` with all experts resident: what a user gets without any of this."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from systems.contract.errors import BadInput
from systems.contract.meter import Meter, NullMeter
from systems.contract.requests import Request, Sampling
from systems.files.model_files import overrides
from systems.files.vocabulary import end_logits
from systems.modeling.loading import load_model
from systems.runtime.pair import Pair


class Watcher:
    """Hands over what each step has settled, and says which rows are done: a stopping criterion of `generate`.

    The spans change hands with the first tokens, so that the prompts of a later batch are not taken for decoding.
    """

    def __init__(self, meter: Meter, rows: Sequence[int], spans: ExitStack, read: int) -> None:
        self._meter, self._rows, self._spans, self._read = meter, rows, spans, read
        self._done = [False] * len(rows)
        self._decoding = False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Commit what follows the tokens read so far in every unfinished row of `input_ids` `(B, length)`."""
        self.settle(input_ids[:, self._read :].tolist())
        self._read = input_ids.shape[1]
        return self.done(input_ids)

    def settle(self, tokens: Sequence[Sequence[int]]) -> None:
        """Commit tokens of every unfinished row."""
        for index, some in enumerate(tokens):
            self._done[index] = self._done[index] or self._meter.commit(self._rows[index], some)
        if not self._decoding:
            self._decoding = True
            self._spans.enter_context(self._meter.span("verify"))

    def done(self, input_ids: torch.Tensor, scores: Any = None, **_: Any) -> torch.Tensor:
        """Whether each row is done, by what has been committed: a stopping criterion without an effect."""
        return torch.tensor(self._done, device=input_ids.device)


class TransformersGenerate:
    """A `System` around `model.generate`, which pads a batch and goes on until its last row has ended.

    The model is a second copy of the target, stock experts included. It has no notion of steps or expert
    traffic, so only its tokens and their times are reported, all of them as verification. Requests that wait begin
    when the batch before them has ended as a whole. Sampled requests run one by one, since only then each has its seed.

    Args:
        device: where the model is loaded; None: on the pair's.
    """

    most_rows: int | None = None
    """Rows that `generate` takes at once; None: any number."""

    def __init__(self, pair: Pair, device: str | None = None) -> None:
        own = overrides(pair.config, pair.num_experts, pair.target.config)
        dtype = getattr(torch, pair.config.dtype)
        self._model = load_model(Path(pair.config.target), dtype, device or pair.device, own)
        end_logits(self._model, pair.vocab_size)
        self._arguments: dict[str, Any] = {}
        self._position_bytes = pair.position_bytes
        self.fast_bytes = pair.expert_bytes

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], meter: Meter, at_once: int | None = None) -> None:
        """Generate greedily or by sampling, as each request asks."""
        if not requests:
            raise BadInput("the batch is empty; there is nothing to generate")
        size = self._rows(requests, at_once)
        for first in range(0, len(requests), size):
            self._begin(meter)
            with ExitStack() as spans:
                spans.enter_context(meter.span("prefill"))
                self._run(requests[first : first + size], first, meter, spans)

    def kv_bytes(self, requests: Sequence[Request], at_once: int | None = None) -> int:
        """Those of the longest row for every row; see `systems.contract.system.System`."""
        longest = max(len(request.prompt) for request in requests) + max(r.max_new_tokens for r in requests)
        return self._rows(requests, at_once) * longest * self._position_bytes

    def _rows(self, requests: Sequence[Request], at_once: int | None) -> int:
        sampled = any(request.sampling.temperature for request in requests)
        limits = (len(requests), at_once, self.most_rows, 1 if sampled else None)
        return min(limit for limit in limits if limit is not None)

    def _run(self, requests: Sequence[Request], first: int, meter: Meter, spans: ExitStack) -> None:
        """Generate for a batch whose first request is number `first`, its prompts padded on the left."""
        longest = max(len(request.prompt) for request in requests)
        device = self._model.device
        padding = [longest - len(request.prompt) for request in requests]
        prompts = [[0] * pad + list(r.prompt) for pad, r in zip(padding, requests, strict=True)]
        mask = [[0] * pad + [1] * (longest - pad) for pad in padding]
        watcher = Watcher(meter, range(first, first + len(requests)), spans, longest)
        self._model.generate(
            torch.tensor(prompts, device=device),
            attention_mask=torch.tensor(mask, device=device),
            max_new_tokens=max(request.max_new_tokens for request in requests),
            pad_token_id=0,
            **_choice(requests[0].sampling),
            **self._arguments,
            **self._watched_by(watcher),
        )

    def calibrate(self, requests: Sequence[Request]) -> None:
        """Warm up."""
        self.generate(requests, NullMeter([request.max_new_tokens for request in requests]))

    def now_ns(self) -> int:
        """This machine's time (ns)."""
        return time.perf_counter_ns()

    def rehearse(self, requests: Sequence[Request], at_once: int | None = None) -> None:
        """Do nothing: peers know nothing beforehand."""

    def describe(self) -> dict[str, Any]:
        """Which experts implementation transformers chose."""
        return {"fast_bytes": self.fast_bytes, "experts_implementation": self._model.config._experts_implementation}

    def close(self) -> None:
        """Drop the model."""
        self._model = None

    def _begin(self, meter: Meter) -> None:
        """A batch is about to start."""

    def _watched_by(self, watcher: Watcher) -> dict[str, Any]:
        """Arguments by which `generate` tells of tokens, and asks whether to go on."""
        return {"stopping_criteria": [watcher]}


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
