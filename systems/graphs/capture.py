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
        # Streams of one priority are handed out in turn, and again: a link may copy on the one that comes next.
        self._stream = torch.cuda.Stream(device, priority=-1)
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
            try:
                graph.capture_end()
            except RuntimeError:
                self._stop_pooling()

    def _stop_pooling(self) -> None:
        """Before torch 2.13 a capture that fails at its end leaves the allocator in it, which then frees nothing."""
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        with suppress(RuntimeError):  # no capture is under way: as it should be
            torch._C._cuda_endAllocateToPool(index, self._pool)
