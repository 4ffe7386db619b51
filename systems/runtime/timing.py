"""How long forwards take on this machine: medians over actions that take turns."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any

import torch

from systems.modeling.decoder import Decoder
from systems.modeling.experts import Mixer
from systems.runtime.pair import Pair

SAMPLED = {"cpu": 1.5, "cuda": 0.3}
"""Seconds for which each time is sampled unless a caller says otherwise, by the kind of device: longer than the
disturbances of shared processors, and what a device that nobody else uses needs."""
CONTEXT = 128
"""Tokens of a prompt that are read, from its end."""
NEW = 32
"""Tokens that follow: places to read from, since one again and again would find its few experts in the processor's
cache."""


def draft_token_time(pair: Pair, experts: Mixer) -> float:
    """Time (s) of a target forward of one position whose experts are computed by `experts`."""
    pair.port.mixer = experts
    generator = torch.Generator().manual_seed(0)
    # One position needs as many experts as any other.
    text = torch.randint(pair.vocab_size, (CONTEXT + NEW,), generator=generator).tolist()
    return medians([partial(Reader(pair.target, [text], 1).read, 1)], pair.device)[0]


class Reader:
    """Forwards of a model over the last `NEW` tokens of each text in turn.

    More positions than a text has left are the next ones' tokens, as in a batch; what is read again is what was there.

    Args:
        longest: most positions of a forward.
    """

    @torch.inference_mode()
    def __init__(self, model: Any, texts: Sequence[Sequence[int]], longest: int) -> None:
        self.layers: int = model.config.get_text_config().num_hidden_layers
        self._texts, self._turns = texts, defaultdict[int, Iterator[int]](count)
        self._stream = [token for text in texts for token in text[-NEW:]]
        self._decoders = [Decoder(model, 1, len(text) + longest) for text in texts]
        for decoder, text in zip(self._decoders, texts, strict=True):
            decoder.undo(NEW + longest)
            decoder.prefill(0, text[:-NEW])
            decoder.forward(torch.tensor([text[-NEW:]], device=decoder.device), [len(text) - NEW])

    @torch.inference_mode()
    def read(self, width: int) -> None:
        """Read `width` positions from the next place of such forwards on, to the end."""
        number, text = divmod(next(self._turns[width]), len(self._texts))
        offset = number % NEW
        first = text * NEW + offset
        tokens = [self._stream[place % len(self._stream)] for place in range(first, first + width)]
        start = len(self._texts[text]) - NEW + offset
        decoder = self._decoders[text]
        decoder.forward(torch.tensor([tokens], device=decoder.device), [start])[0, -1, 0].item()


def medians(actions: Sequence[Callable[[], object]], device: str, seconds: float | None = None) -> list[float]:
    """Do the actions in turn for a while; return the median time (s) of each.

    Args:
        seconds: for which each is sampled; None: as long as a device of that name asks for.
    """
    sampled = SAMPLED[torch.device(device).type] if seconds is None else seconds
    times: list[list[float]] = [[] for _ in actions]
    for action in actions:
        action()
    end = time.perf_counter() + sampled * len(actions)
    while not times[-1] or time.perf_counter() < end:
        for action, taken in zip(actions, times, strict=True):
            start = time.perf_counter()
            action()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]
