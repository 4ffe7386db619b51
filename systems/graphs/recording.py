"""A forward of one shape: the buffers that it reads, and its graphs once it was recorded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from systems.graphs.capture import Capture
from systems.modeling.decoder import Hear
from systems.modeling.experts import Arithmetic, ExpertPort, Mixer


class NotRecorded(Exception):
    """A forward asks for something that no graph holds: a value of the device, or memory of the host."""


class Recording:
    """The steps of a forward: graphs, and between them what the host does.

    What lies between must keep its address: results of graphs are held here, and what the host computes is copied into
    memory that the next graph reads.

    Args:
        tokens: `(B, T)`, read by the first graph; `starts` `(B,)` are the positions before them.
    """

    def __init__(self, tokens: Tensor, starts: Tensor) -> None:
        self.tokens, self.starts = tokens, starts
        self._steps: list[Callable[[], object]] = []
        self._heard: list[tuple[Tensor, Hear]] = []
        self._told: Tensor | None = None
        self._logits = torch.empty(0)

    @property
    def recorded(self) -> bool:
        """Whether there are graphs."""
        return bool(self._steps)

    def record(self, compute: Callable[[], Tensor], port: ExpertPort, capture: Capture) -> None:
        """Record what `compute` submits; it returns the logits. Experts are left to the port's mixer of the moment at
        which the forward is replayed.

        Raises:
            NotRecorded: a graph cannot hold it.
        """
        own, steps = port.mixer, list[Callable[[], object]]()
        self._heard.clear()
        port.mixer = self._leaving_experts(port, capture, steps)
        try:
            with capture.open():
                capture.begin()
                self._logits = compute()
                if self._heard:
                    self._told = torch.stack([values for values, _ in self._heard])
                steps.append(capture.end())
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise NotRecorded(str(error).splitlines()[0]) from error
        finally:
            port.mixer = own
        self._steps = steps

    def later(self, values: Tensor, hear: Hear) -> None:
        """Tell `hear` values of every replay when it has been submitted."""
        self._heard.append((values, hear))

    def replay(self) -> Tensor:
        """Submit the forward of what the buffers hold; return its logits, which the next replay overwrites."""
        for step in self._steps:
            step()
        if self._told is not None:
            for (_, hear), values in zip(self._heard, self._told.tolist(), strict=True):
                hear(values)
        return self._logits

    def _leaving_experts(self, port: ExpertPort, capture: Capture, steps: list[Callable[[], object]]) -> Mixer:
        """Return a mixer that ends a graph, leaves a place for the experts' sum, and begins the next."""

        def mixer(layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
            mixed = torch.empty_like(hidden)
            steps.append(capture.end())
            steps.append(lambda: mixed.copy_(port.mixer(layer, hidden, chosen, weights, arithmetic)))
            capture.begin()
            return mixed

        return mixer
