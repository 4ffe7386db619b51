"""Prompts of a batch read together: each by a forward of its own, which meet at the experts of every layer.

SpecMoEOff (arXiv 2508.21706) reads prompts layer by layer, so that the experts of a layer are loaded once for all of
them. Here every prompt's forward stops where it needs a layer's experts until all have come as far; the experts are
then computed for all tokens at once, and the forwards go on. Nothing is padded, no prompt sees another, and whatever
else a model does with a prompt it does as if it were alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from systems.modeling.decoder import Decoder
from systems.modeling.experts import Arithmetic, ExpertPort, Mixer
from systems.modeling.offloaded import OffloadedExperts

_current = threading.local()


@torch.inference_mode()
def read(decoder: Decoder, first: int, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """Read prompts into the rows from `first` on; return the logits `(V,)` behind the last token of each.

    Prompts are at the same layer at any time, so that activations of all their tokens are held.
    """
    port = _port(decoder.model)
    if len(prompts) == 1 or port is None:
        return [decoder.prefill(row, prompt) for row, prompt in enumerate(prompts, first)]
    readers = [_Reader(partial(decoder.prefill, row, prompt)) for row, prompt in enumerate(prompts, first)]
    with _asking(port) as mixer:
        try:
            return _meet(readers, mixer)
        finally:
            for reader in readers:
                reader.end()


def _port(model: Any) -> ExpertPort | None:
    """Where a model's offloaded experts are computed; None: it has none."""
    return next((module.port for module in model.modules() if isinstance(module, OffloadedExperts)), None)


@dataclass(frozen=True, slots=True)
class _Wish:
    """The experts that a forward stops for; see `Mixer`."""

    layer: int
    hidden: Tensor
    chosen: Tensor
    weights: Tensor
    arithmetic: Arithmetic


class _Ended(Exception):
    """Nobody waits for this forward any more."""


class _Reader:
    """A forward in a thread of its own, which runs only while `start` or `go_on` waits for it.

    A thread is what can be stopped in the middle of a model's forward; no two of them ever run at the same time.
    """

    def __init__(self, forward: Callable[[], Tensor]) -> None:
        self._forward = forward
        self._given, self._said = SimpleQueue[Tensor | None](), SimpleQueue[_Wish | Tensor | BaseException]()
        self._thread = threading.Thread(target=self._run, name="prompt", daemon=True)

    def start(self) -> _Wish | Tensor:
        """Run up to the first experts, or to the end, and return what is wished or the result."""
        self._thread.start()
        return self._hear()

    def go_on(self, mixed: Tensor) -> _Wish | Tensor:
        """Run on with what was wished for; see `start`."""
        self._given.put(mixed)
        return self._hear()

    def end(self) -> None:
        """End the thread, wherever it is."""
        self._given.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def ask(self, wish: _Wish) -> Tensor:
        """Stop until the experts have been computed; called by the thread."""
        self._said.put(wish)
        if (mixed := self._given.get()) is None:
            raise _Ended
        return mixed

    def _hear(self) -> _Wish | Tensor:
        said = self._said.get()
        if isinstance(said, BaseException):
            raise said
        return said

    @torch.inference_mode()  # which holds for one thread
    def _run(self) -> None:
        _current.reader = self
        try:
            self._said.put(self._forward())
        except BaseException as error:
            self._said.put(error)


@contextmanager
def _asking(port: ExpertPort) -> Iterator[Mixer]:
    """Let every forward stop at the port; yield what computes there otherwise."""
    mixer: Mixer = port.mixer
    port.mixer = _ask
    try:
        yield mixer
    finally:
        port.mixer = mixer


def _ask(layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
    mixed: Tensor = _current.reader.ask(_Wish(layer, hidden, chosen, weights, arithmetic))
    return mixed


def _meet(readers: Sequence[_Reader], mixer: Mixer) -> list[Tensor]:
    """Run the forwards from one layer's experts to the next, to the end."""
    said = [reader.start() for reader in readers]
    while wishes := [wish for wish in said if isinstance(wish, _Wish)]:
        mixed = _mix(wishes, mixer).split([len(wish.hidden) for wish in wishes])
        said = [reader.go_on(part) for reader, part in zip(readers, mixed, strict=True)]
    return [result for result in said if isinstance(result, Tensor)]


def _mix(wishes: Sequence[_Wish], mixer: Mixer) -> Tensor:
    """Compute a layer's experts for the tokens of all prompts, one behind the other."""
    (layer,) = {wish.layer for wish in wishes}
    hidden = torch.cat([wish.hidden for wish in wishes])
    chosen = torch.cat([wish.chosen for wish in wishes])
    weights = torch.cat([wish.weights for wish in wishes])
    return mixer(layer, hidden, chosen, weights, wishes[0].arithmetic)
