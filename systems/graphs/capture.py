"""What a device is given to compute, kept as graphs instead: one behind the other, out of one pool of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

Replay = Callable[[], None]
"""Submits a graph to the stream that computes."""


class Capture:
    """Captures what is submitted, in pieces.

    Nothing is computed meanwhile. Other threads may go on using the device: an expert link does.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self._graph: torch.cuda.CUDAGraph | None = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Capture from here to the end of the context; an error leaves nothing half captured."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            try:
                yield
            finally:
                self._abandon()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def begin(self) -> None:
        """Begin a graph."""
        self._graph = torch.cuda.CUDAGraph()
        self._graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")

    def end(self) -> Replay:
        """End the graph that was begun, and return what submits it."""
        graph = self._graph
        assert graph is not None, "a graph was begun"
        self._graph = None
        graph.capture_end()
        return graph.replay

    def _abandon(self) -> None:
        """End a graph in which something was asked for that no graph holds; the error is on its way already."""
        if (graph := self._graph) is not None:
            self._graph = None
            with suppress(RuntimeError):
                graph.capture_end()
