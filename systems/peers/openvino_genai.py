"""OpenVINO GenAI on this machine's processor, all experts resident.

Token ids go in and come out, over the same weights as `systems.peers.openvino_file` writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai
import torch

from systems.cache.clock import WallClock
from systems.contract.errors import BadInput, Unsupported
from systems.contract.meter import Meter, NullMeter
from systems.contract.requests import Request
from systems.peers.openvino_file import openvino_of
from systems.runtime.pair import Pair


class OpenVinoGenAI:
    """`systems.contract.system.System` around OpenVINO GenAI's `LLMPipeline`, with as many threads as torch has.

    It computes, and keeps keys and values, in float32, whatever else it would choose on this processor. A request runs
    alone, so that a batch goes through it one by one, and nothing of it is kept for the next one. The first token of a
    request ends its prefill; what follows is verification as a whole.

    Raises:
        Unsupported: another device than the processor, another dtype than float32, or a model that is not written.
    """

    def __init__(self, pair: Pair) -> None:
        if pair.device != "cpu":
            raise Unsupported(f"engine.part=openvino_genai runs on the processor, not on model.device={pair.device}")
        config = pair.config
        if config.dtype != "float32":
            raise Unsupported(f"engine.part=openvino_genai computes in float32, not in model.dtype={config.dtype}")
        self.fast_bytes = pair.expert_bytes
        self._position_bytes = pair.position_bytes
        self._threads = torch.get_num_threads()
        self._clock = WallClock()
        folder = openvino_of(Path(config.target), pair.target.config, Path(config.cache_dir))
        self._pipeline: Any = openvino_genai.LLMPipeline(
            str(folder),
            "CPU",
            ATTENTION_BACKEND="SDPA",  # the other takes memory for many requests at once
            INFERENCE_PRECISION_HINT="f32",
            KV_CACHE_PRECISION="f32",
            INFERENCE_NUM_THREADS=self._threads,
        )

    def generate(self, requests: Sequence[Request], meter: Meter, at_once: int | None = None) -> None:
        """Generate greedily.

        Raises:
            Unsupported: a request is to be sampled: top-p would come before top-k, where transformers has it behind.
        """
        if not requests:
            raise BadInput("the batch is empty; there is nothing to generate")
        if any(request.sampling.temperature for request in requests):
            raise Unsupported("engine.part=openvino_genai decodes greedily; set measure.sampling.temperature=0")
        for row, request in enumerate(requests):
            with ExitStack() as spans:
                spans.enter_context(meter.span("prefill"))
                stream = _Stream(row, meter, spans)
                prompt = openvino.Tensor(np.array([request.prompt], np.int64))
                self._pipeline.generate(prompt, _greedy(request), stream)
            stream.check()

    def kv_bytes(self, requests: Sequence[Request], at_once: int | None = None) -> int:
        """Those of the longest request: they run one by one."""
        return max(len(r.prompt) + r.max_new_tokens for r in requests) * self._position_bytes

    def calibrate(self, requests: Sequence[Request]) -> None:
        """Warm up."""
        self.generate(requests, NullMeter([request.max_new_tokens for request in requests]))

    def now_ns(self) -> int:
        """This machine's time (ns)."""
        return int(self._clock.now() * 1e9)

    def rehearse(self, requests: Sequence[Request], at_once: int | None = None) -> None:
        """Do nothing: peers know nothing beforehand."""

    def describe(self) -> dict[str, Any]:
        """Version and threads."""
        return {"fast_bytes": self.fast_bytes, "version": openvino_genai.__version__, "threads": self._threads}

    def close(self) -> None:
        """Let go of the model."""
        self._pipeline = None


class _Stream(openvino_genai.StreamerBase):  # type: ignore[misc]
    """Hears the tokens of one request as they come and hands them over; the first one ends the prefill."""

    def __init__(self, row: int, meter: Meter, spans: ExitStack) -> None:
        super().__init__()
        self._row, self._meter, self._spans = row, meter, spans
        self._begun = self._done = False
        self._error: Exception | None = None

    def write(self, token: int | Sequence[int]) -> Any:
        """Hear a token or several; say whether more are wanted."""
        try:
            for one in [token] if isinstance(token, int) else token:
                if not self._done:
                    self._hear(one)
        except Exception as error:  # it would be lost in the pipeline
            self._error = error
        stopped = self._done or self._error is not None
        return openvino_genai.StreamingStatus.STOP if stopped else openvino_genai.StreamingStatus.RUNNING

    def end(self) -> None:
        """Do nothing: every token was handed over as it came."""

    def check(self) -> None:
        """Raise what went wrong while hearing.

        Raises:
            RuntimeError: the stream ended before the request did.
        """
        if self._error is not None:
            raise self._error
        if not self._done:
            raise RuntimeError(f"OpenVINO GenAI ended request {self._row} early")

    def _hear(self, token: int) -> None:
        self._done = self._meter.commit(self._row, [token])
        if self._begun:
            self._meter.step([self._row], [0], [0])
            return
        self._begun = True
        self._spans.enter_context(self._meter.span("verify"))


def _greedy(request: Request) -> Any:
    """The request's settings: no token ends a text, which is for the meter to say."""
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = request.max_new_tokens
    config.do_sample = False
    config.ignore_eos, config.eos_token_id, config.stop_token_ids = True, 0, set()
    return config
