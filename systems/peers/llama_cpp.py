"""llama.cpp on this machine's processor, all experts resident, with the pair's draft proposing or without it.

It runs as its own server inside this process (the wheel `xllamacpp`). Prompts go in as token ids. What comes out is
streamed as text in the vocabulary that `systems.peers.gguf_file` writes, which spells every token as its id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import xllamacpp

from systems.cache.clock import WallClock
from systems.contract.errors import BadInput, Unsupported
from systems.contract.meter import Meter, NullMeter
from systems.contract.requests import Request, Sampling
from systems.peers.gguf_file import TYPES, gguf_of
from systems.runtime.pair import Pair

_SILENT = -1
"""llama.cpp's verbosity: no messages; it refuses what it cannot do by an exception."""


class LlamaCpp:
    """`systems.contract.system.System` around llama.cpp's server, with as many threads as torch has.

    Weights, keys and values are kept in `model.dtype`, where llama.cpp's own default for the latter is float16; its
    flash attention is off, which rounds to float16 on a processor (logits of a float32 model are off by up to 1e-2
    with it and 1e-5 without). Nothing of a prompt is kept for the next one. A request runs alone, so that a batch goes
    through it one by one.

    The first token of a request ends its prefill; what follows is verification as a whole, since nothing outside the
    server sees where drafting ends. Steps come from its counters of drafted and accepted tokens, which it sends with
    every token.

    Args:
        draft_length: tokens that the draft proposes each time, however unsure it is; 0: nothing is drafted.

    Raises:
        BadInput: a draft is asked for and the pair has none.
        Unsupported: another device than the processor, or a model that is not written as GGUF.
    """

    def __init__(self, pair: Pair, draft_length: int) -> None:
        if pair.device != "cpu":
            raise Unsupported(
                f"llama.cpp as xllamacpp's wheel runs on the processor, not on model.device={pair.device}"
            )
        self.fast_bytes = pair.expert_bytes + (pair.draft_bytes if draft_length else 0)
        self._position_bytes = pair.position_bytes + (pair.draft_position_bytes if draft_length else 0)
        self._threads = torch.get_num_threads()
        self._draft_length = draft_length
        self._clock = WallClock()
        self._server: Any = xllamacpp.Server(self._parameters(pair))
        self._forget()

    def generate(self, requests: Sequence[Request], meter: Meter, at_once: int | None = None) -> None:
        """Generate greedily or by sampling, as each request asks."""
        if not requests:
            raise BadInput("the batch is empty; there is nothing to generate")
        for row, request in enumerate(requests):
            with ExitStack() as spans:
                spans.enter_context(meter.span("prefill"))
                stream = _Stream(row, meter, spans, self._clock)
                self._server.handle_completions(_asked(request), stream)
            stream.end()
            self._decode_seconds += stream.decode_seconds
            self._own_decode_seconds += stream.own_decode_seconds

    def kv_bytes(self, requests: Sequence[Request], at_once: int | None = None) -> int:
        """Those of the longest request: they run one by one."""
        return max(len(r.prompt) + r.max_new_tokens for r in requests) * self._position_bytes

    def calibrate(self, requests: Sequence[Request]) -> None:
        """Warm up."""
        self.generate(requests, NullMeter([request.max_new_tokens for request in requests]))
        self._forget()

    def now_ns(self) -> int:
        """This machine's time (ns)."""
        return int(self._clock.now() * 1e9)

    def rehearse(self, requests: Sequence[Request], at_once: int | None = None) -> None:
        """Do nothing: peers know nothing beforehand."""

    def describe(self) -> dict[str, Any]:
        """Version, threads and drafts, and how long decoding took on our clock and on llama.cpp's own (s)."""
        return {
            "fast_bytes": self.fast_bytes,
            "version": xllamacpp.__version__,
            "threads": self._threads,
            "draft_length": self._draft_length,
            "decode_seconds": self._decode_seconds,
            "own_decode_seconds": self._own_decode_seconds,
        }

    def close(self) -> None:
        """Stop the server."""
        self._server = None

    def _forget(self) -> None:
        self._decode_seconds = self._own_decode_seconds = 0.0

    def _parameters(self, pair: Pair) -> Any:
        config, cache = pair.config, Path(pair.config.cache_dir)
        parameters = xllamacpp.CommonParams()
        parameters.verbosity = _SILENT
        parameters.model.path = str(gguf_of(Path(config.target), pair.target.config, config.dtype, cache))
        parameters.n_ctx, parameters.n_parallel = pair.context_length, 1
        parameters.n_gpu_layers = 0
        parameters.fit_params = parameters.ui = False  # the size is known, and nobody looks
        parameters.cache_prompt, parameters.cache_ram_mib = False, 0
        parameters.cache_type_k = parameters.cache_type_v = TYPES[config.dtype].value
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        _pin(parameters, self._threads)
        if self._draft_length:
            self._add_draft(parameters, pair)
        return parameters

    def _add_draft(self, parameters: Any, pair: Pair) -> None:
        config = pair.config
        if config.draft is None:
            raise BadInput(
                f"engine.part=llama_cpp_draft needs a draft, and model {pair.name} has none; set `model.draft`"
            )
        path = gguf_of(Path(config.draft), pair.draft.config, config.dtype, Path(config.cache_dir))
        draft = parameters.speculative.draft
        parameters.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        draft.mparams.path = str(path)
        draft.n_min, draft.n_max, draft.p_min = 0, self._draft_length, 0.0
        draft.cache_type_k = draft.cache_type_v = TYPES[config.dtype].value
        draft.n_gpu_layers = 0
        _pin(draft, self._threads)


class _Stream:
    """Hears the tokens of one request as they come and hands them over, those of a step together.

    The first token ends the prefill. Of the others each comes with how many have been drafted and accepted up to its
    step: where the counters grow a step begins, and as many tokens as it accepted follow. Seconds of decoding are
    those from the first token to the last, on our clock and on llama.cpp's.
    """

    def __init__(self, row: int, meter: Meter, spans: ExitStack, clock: WallClock) -> None:
        self._row, self._meter, self._spans, self._clock = row, meter, spans, clock
        self._step: list[int] = []
        self._drafted = self._accepted = 0  # in this step
        self._counted = (0, 0)  # up to and with this step
        self._started: float | None = None
        self._done = False
        self._error: Exception | None = None
        self.decode_seconds = self.own_decode_seconds = 0.0

    def __call__(self, chunk: Mapping[str, Any]) -> bool:
        """Hear a chunk; True when no more are wanted."""
        try:
            for token in _text(chunk).split():
                self._done = self._hear(int(token), chunk["timings"]) or self._done
            return self._done
        except Exception as error:  # it would be lost in the server
            self._error = error
            return True

    def end(self) -> None:
        """Raise what went wrong while hearing.

        Raises:
            RuntimeError: the stream ended before the request did.
        """
        if self._error is not None:
            raise self._error
        if not self._done:
            raise RuntimeError(f"llama.cpp ended request {self._row} early, {len(self._step)} tokens into a step")

    def _hear(self, token: int, timings: Mapping[str, Any]) -> bool:
        if self._started is None:
            return self._first(token)
        if not self._step:
            before, self._counted = self._counted, (timings.get("draft_n", 0), timings.get("draft_n_accepted", 0))
            self._drafted, self._accepted = (now - then for now, then in zip(self._counted, before, strict=True))
        self._step.append(token)
        if len(self._step) <= self._accepted:
            return False
        step, self._step = self._step, []
        self.decode_seconds = self._clock.now() - self._started
        self.own_decode_seconds = timings["predicted_ms"] / 1e3
        done = self._meter.commit(self._row, step)
        self._meter.step([self._row], [self._drafted], [self._accepted])
        return done

    def _first(self, token: int) -> bool:
        self._started = self._clock.now()
        done = self._meter.commit(self._row, [token])
        self._spans.enter_context(self._meter.span("verify"))
        return done


def _text(chunk: Mapping[str, Any]) -> str:
    """What a chunk of a stream adds to the text.

    Raises:
        RuntimeError: llama.cpp reports an error instead.
    """
    if "error" in chunk:
        raise RuntimeError(f"llama.cpp: {chunk['error']}")
    return "".join(choice["text"] for choice in chunk["choices"])


def _pin(parameters: Any, threads: int) -> None:
    """Let prompts and tokens be computed by so many threads."""
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads


def _asked(request: Request) -> dict[str, Any]:
    """The request as llama.cpp's server takes it."""
    return {
        "prompt": list(request.prompt),
        "max_tokens": request.max_new_tokens,
        "stream": True,
        "timings_per_token": True,
        "cache_prompt": False,
        **_choice(request.sampling),
    }


def _choice(sampling: Sampling) -> dict[str, Any]:
    """How the next token is chosen, in transformers' order; what llama.cpp would do besides is left out."""
    if not sampling.temperature:
        return {"samplers": ["top_k"], "top_k": 1}
    return {
        "samplers": ["temperature", "top_k", "top_p"],
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "seed": sampling.seed % 2**32,
    }
