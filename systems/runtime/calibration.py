"""Times of layers and transfers on this machine: what analytic policies and emulated links are based on."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, cast

import torch

from systems.contract.costs import Costs
from systems.contract.pair import ModelPair
from systems.runtime.clock import WallClock
from systems.runtime.continuation import continued
from systems.runtime.decoder import Decoder
from systems.runtime.experts import Mixer
from systems.runtime.pair import Pair
from systems.runtime.resident import resident_experts

_SECONDS = 1.5
"""How long each time is sampled: longer than the disturbances of a shared machine."""
_TEXTS = 4
_CONTEXT = 128
"""Tokens of a prompt that are read, from its end."""
_NEW = 32
"""Tokens that follow: places to read from, since one again and again would find its few experts in the processor's
cache."""


def measure(pair: ModelPair, widths: Sequence[int], prompts: Sequence[Sequence[int]]) -> Costs:
    """Time one layer of target and draft per width, all experts resident, and the copy of one expert.

    Both models read what the target says behind the prompts, in turn: other tokens need other numbers of experts, each
    model finds the processor's cache as the other leaves it, and a disturbance meets all widths alike.
    """
    loaded = cast("Pair", pair)
    with resident_experts(loaded) as experts:
        texts = continued(loaded, experts, [prompt[-_CONTEXT:] for prompt in prompts[:_TEXTS]], _NEW)
        target, draft = _layer_times(loaded, texts, widths)
    return Costs(target, draft, _medians([lambda: _copy(loaded)])[0], 0.0)


def draft_token_time(pair: Pair, experts: Mixer) -> float:
    """Time (s) of a target forward of one position whose experts are computed by `experts`."""
    pair.port.mixer = experts
    generator = torch.Generator().manual_seed(0)
    # One position needs as many experts as any other.
    text = torch.randint(pair.target.config.vocab_size, (_CONTEXT + _NEW,), generator=generator).tolist()
    return _medians([partial(_Reader(pair.target, [text], 1).read, 1)])[0]


def _layer_times(
    pair: Pair, texts: Sequence[Sequence[int]], widths: Sequence[int]
) -> tuple[dict[int, float], dict[int, float]]:
    """Median time (s) of a forward by width, per layer, of target and draft; 0 for a draft that does not exist."""
    models = [model for model in (pair.target, pair.draft) if model is not None]
    readers = [_Reader(model, texts, max(widths)) for model in models]
    turns = [(reader, width) for width in widths for reader in readers]
    times = _medians([partial(reader.read, width) for reader, width in turns])
    target, draft = dict[int, float](), dict[int, float]()
    for (reader, width), time in zip(turns, times, strict=True):
        (target if reader is readers[0] else draft)[width] = time / reader.layers
    return target, draft or {1: 0.0}


class _Reader:
    """Forwards of a model over the last `_NEW` tokens of each text in turn.

    More positions than a text has left are the next ones' tokens, as in a batch; what is read again is what was there.

    Args:
        longest: most positions of a forward.
    """

    @torch.inference_mode()
    def __init__(self, model: Any, texts: Sequence[Sequence[int]], longest: int) -> None:
        self.layers: int = model.config.num_hidden_layers
        self._texts, self._turns = texts, defaultdict[int, Iterator[int]](count)
        self._stream = [token for text in texts for token in text[-_NEW:]]
        self._decoders = [Decoder(model, 1, len(text) + longest) for text in texts]
        for decoder, text in zip(self._decoders, texts, strict=True):
            decoder.prefill(0, text)

    @torch.inference_mode()
    def read(self, width: int) -> None:
        """Read `width` positions from the next place of such forwards on, to the end."""
        number, text = divmod(next(self._turns[width]), len(self._texts))
        offset = number % _NEW
        first = text * _NEW + offset
        tokens = [self._stream[place % len(self._stream)] for place in range(first, first + width)]
        start = len(self._texts[text]) - _NEW + offset
        decoder = self._decoders[text]
        decoder.forward(torch.tensor([tokens], device=decoder.device), [start])[0, -1, 0].item()


def _copy(pair: Pair) -> None:
    pair.store.read(0, [torch.empty(pair.record_bytes, dtype=torch.uint8)])


def _medians(actions: Sequence[Callable[[], object]]) -> list[float]:
    """Do the actions in turn for a while; return the median time (s) of each."""
    times: list[list[float]] = [[] for _ in actions]
    for action in actions:
        action()
    end = WallClock.now() + _SECONDS * len(actions)
    while WallClock.now() < end:
        for action, taken in zip(actions, times, strict=True):
            start = WallClock.now()
            action()
            taken.append(WallClock.now() - start)
    return [statistics.median(taken) for taken in times]
