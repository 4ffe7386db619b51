"""SpecMoEOff's two micro-batches: forwards of a batch in parts that take turns at each processor.

Threads pay where operators are long enough to release the interpreter lock for most of the time, and where there are
processors for them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from systems.cache.clock import Clock
from systems.contract.errors import BadInput
from systems.methods.spec_moe_off.chunked_attention import chunked_attention
from systems.modeling.decoder import at_once
from systems.modeling.masks import Masks
from systems.runtime.split_decoder import SplitDecoder

ATTENTION = "spmoe_chunked"
"""The kernel's name in transformers' registry."""
_current = threading.local()


class Lane:
    """One processor: serves in the order of arrival, so that no micro-batch runs ahead of the others."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._turns: deque[threading.Lock] = deque()

    def enter(self) -> None:
        """Wait for one's turn."""
        turn = threading.Lock()
        turn.acquire()
        with self._guard:
            self._turns.append(turn)
            if self._turns[0] is turn:
                turn.release()
        turn.acquire()

    def leave(self) -> None:
        """Let the next one in."""
        with self._guard:
            self._turns.popleft()
            if self._turns:
                self._turns[0].release()


class MicroBatches(SplitDecoder):
    """A target on two processors: attention by the chunked kernel on the host, all else on the device.

    Each serves one micro-batch at a time, so that the attention of one runs beside the experts of the other. The
    experts, and so the expert cache, only ever see one thread at a time.
    """

    _masked = False

    def __init__(self, model: Any, rows: int, capacity: int, parts: int, clock: Clock) -> None:
        super().__init__(model, rows, capacity, parts)
        self._device_lane, self._host_lane, self._clock = Lane(), Lane(), clock

    def forward(self, tokens: Tensor, starts: Sequence[int]) -> Tensor:
        """As `SplitDecoder.forward`."""
        with _attention(self.model):
            return super().forward(tokens, starts)

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """Leave the device for the host, and come back with the attention of this thread's rows."""
        self._device_lane.leave()
        self._host_lane.enter()
        try:
            with self._clock.beside():
                return chunked_attention(query, keys, values, _current.starts, scale)
        finally:
            self._host_lane.leave()
            self._device_lane.enter()

    @torch.inference_mode()
    def _run(self, tokens: Tensor, starts: list[int], first: int) -> Tensor:
        self._device_lane.enter()
        _current.decoder, _current.starts = self, starts
        try:
            return super()._run(tokens, starts, first)
        finally:
            self._device_lane.leave()


def check_reach(model: Any) -> None:
    """Refuse models that `MicroBatches` cannot compute.

    Raises:
        BadInput: attention does not reach back to the first position.
    """
    if not at_once(model) or not Masks(model).plain:
        raise BadInput(
            "attention.part=chunked reads all positions in every layer, and this target has a sliding window, other "
            "kinds of layers, or attention of its own"
        )


@contextmanager
def _attention(model: Any) -> Iterator[None]:
    """Let a model attend by the chunked kernel: the model is shared between systems."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attend)
    config = model.config
    usual = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = usual


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float | None = None, **_: Any
) -> tuple[Tensor, None]:
    """What transformers calls in place of an attention kernel; there is no mask for a name that it does not know."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _current.decoder.attend(query, key, value, scale), None
