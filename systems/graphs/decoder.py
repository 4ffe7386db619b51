"""A decoder whose forwards of a few tokens are graphs: one launch from a layer's experts to the next one's router.

A graph computes at the same addresses, over as many keys, every time. So keys are read up to the next power of two,
those behind the text being masked, and positions are read from memory. Nothing here knows a family: a model is run as
it is, and whatever a graph cannot hold shows when it is recorded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from systems.graphs.capture import Capture
from systems.graphs.recording import NotRecorded, Recording
from systems.modeling.decoder import Decoder, Hear
from systems.modeling.experts import ExpertPort
from systems.modeling.kv_cache import PositionalCache, RaggedLengths
from systems.operators.uploading import upload

LEAST_KEYS = 128
"""Keys that the smallest graphs read."""
MOST_TOKENS = 64
"""Tokens of a forward, of all rows together, up to which launches are what takes the time."""


def keys_read(end: int, capacity: int) -> int:
    """Return how many keys are read where a text has `end` of them."""
    return min(max(LEAST_KEYS, 1 << (end - 1).bit_length()), capacity)


class GraphedDecoder(Decoder):
    """Computes a shape once as ever, records it when it is asked for again, and replays it from then on.

    Args:
        port: where experts are computed.
        make_capture: makes what records.

    Attributes:
        refused: why forwards are submitted one operator at a time after all; None: they are not.
    """

    def __init__(
        self, model: Any, rows: int, capacity: int, port: ExpertPort, make_capture: Callable[[torch.device], Capture]
    ) -> None:
        super().__init__(model, rows, capacity)
        self._port, self._make_capture = port, make_capture
        self._capture: Capture | None = None
        self._shapes: dict[tuple[int, int, int], Recording] = {}
        self._recording: Recording | None = None
        self.refused: str | None = None
        if not isinstance(self._cache, PositionalCache) or self._cache.states is not None:
            self.refused = "it keeps more of a text than keys and values"

    @property
    def recording(self) -> bool:
        """Whether a forward is going on that computes nothing, but is recorded."""
        return self._recording is not None

    def later(self, values: Tensor, hear: Hear) -> None:
        """As `Decoder.later`; all that is heard of a replay is read at once, at its end."""
        assert self._recording is not None, "nothing is recorded"
        self._recording.later(values, hear)

    def forward(self, tokens: Tensor, starts: Sequence[int]) -> Tensor:
        """As `Decoder.forward`."""
        end = max(starts) + tokens.shape[1]
        if self.refused is not None or tokens.numel() > MOST_TOKENS or end > self.capacity or not self.nbytes:
            return super().forward(tokens, starts)
        keys = keys_read(end, self.capacity)
        shape = (*tokens.shape, keys)
        known = self._shapes.get(shape)
        if known is None:
            known = Recording(torch.empty_like(tokens), torch.empty(len(starts), dtype=torch.long, device=self.device))
        known.tokens.copy_(tokens)
        known.starts.copy_(upload(starts, self.device))
        try:
            if shape not in self._shapes:
                logits = self._computed(known, keys)
                self._shapes[shape] = known
                return logits
            if not known.recorded:
                self._record(known, keys)
        except (RaggedLengths, NotRecorded) as error:
            self._refuse(error)
            return super().forward(tokens, starts)
        return known.replay().clone()

    def _record(self, known: Recording, keys: int) -> None:
        if self._capture is None:
            self._capture = self._make_capture(self.device)
        self._recording = known
        try:
            known.record(lambda: self._computed(known, keys), self._port, self._capture)
        finally:
            self._recording = None

    def _computed(self, known: Recording, keys: int) -> Tensor:
        """Submit the forward of what the buffers hold."""
        cache, masks = self._cache, self._masks
        assert isinstance(cache, PositionalCache)
        assert masks is not None
        positions = known.starts[:, None] + torch.arange(known.tokens.shape[1], device=self.device)
        cache.begin_at(positions, keys)
        logits: Tensor = self._logits(known.tokens, positions, cache, masks(positions, keys, False), 0).logits
        return logits

    def _refuse(self, error: Exception) -> None:
        self._shapes.clear()
        self.refused = str(error).splitlines()[0] if str(error) else "it asks how long the text is"
        name = type(self.model).__name__
        warnings.warn(
            f"{name} does not run as graphs, and is computed one operator at a time: {self.refused}", stacklevel=2
        )


class GraphedDecoders:
    """Makes decoders, as `MakeDecoder`; one of a model is handed out again and again, since its graphs are worth
    keeping. At any time one generation may use it.

    Args:
        port: where experts are computed.
    """

    def __init__(self, port: ExpertPort, make_capture: Callable[[torch.device], Capture] = Capture) -> None:
        self._port, self._make_capture = port, make_capture
        self._kept: dict[int, GraphedDecoder] = {}

    def __call__(self, model: Any, rows: int, capacity: int) -> Decoder:
        """Return a decoder for so many rows of so many positions at least."""
        kept = self._kept.get(id(model))
        if kept is None or kept.rows < rows or kept.capacity < capacity:
            room = max(LEAST_KEYS, 1 << (capacity - 1).bit_length())
            kept = GraphedDecoder(model, rows, room, self._port, self._make_capture)
            self._kept[id(model)] = kept
        return kept

    def describe(self) -> dict[str, Any]:
        """What is not computed by graphs, and why, for the record."""
        refused = {type(kept.model).__name__: kept.refused for kept in self._kept.values() if kept.refused}
        return {"graphs": "; ".join(f"not of {name}: {why}" for name, why in refused.items()) or "yes"}

    def close(self) -> None:
        """Free keys, values and graphs."""
        self._kept.clear()
