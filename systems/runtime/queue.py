"""The order in which experts cross the link."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from systems.policies.orders import DEMAND, PREFETCH, Order


class TransferQueue:
    """A priority queue whose entries can be upgraded and cancelled. Not thread-safe; its owner holds a lock.

    Attributes:
        pending: orders by expert.
    """

    def __init__(self) -> None:
        self.pending: dict[int, Order] = {}
        self._heap: list[Order] = []
        self._ahead = 0
        """How many of the pending are prefetches."""

    def push(self, order: Order) -> None:
        """Add an order, or replace the pending one of the same expert; a prefetch never replaces a demand."""
        known = self.pending.get(order.expert)
        if known is not None:
            if known.kind == DEMAND:
                return
            self._ahead -= 1
        self._ahead += order.kind == PREFETCH
        self.pending[order.expert] = order
        heapq.heappush(self._heap, order)

    def replan(self, orders: Mapping[int, Order]) -> int:
        """Let these prefetches, by expert, take the place of all others; a pending demand stays.

        Returns:
            How many experts are withdrawn.
        """
        before = self.prefetches()
        for expert in before:
            del self.pending[expert]
        planned = {expert: order for expert, order in orders.items() if expert not in self.pending}
        self.pending |= planned
        self._ahead = len(planned)
        self._heap = list(self.pending.values())
        heapq.heapify(self._heap)
        return sum(expert not in planned for expert in before)

    def cancel(self, expert: int) -> None:
        """Withdraw the order of an expert; it must be pending."""
        self._ahead -= self.pending.pop(expert).kind == PREFETCH

    def prefetches(self, layer: int | None = None) -> list[int]:
        """Experts with a pending prefetch, of one layer or of all."""
        if not self._ahead:
            return []
        return [
            order.expert
            for order in self.pending.values()
            if order.kind == PREFETCH and (layer is None or order.layer == layer)
        ]

    def peek(self) -> Order | None:
        """Return the most urgent order, None if the queue is empty."""
        heap, pending = self._heap, self.pending
        while heap and pending.get(heap[0].expert) is not heap[0]:
            heapq.heappop(heap)
        return heap[0] if heap else None

    def pop(self) -> None:
        """Withdraw the order that `peek` has just returned."""
        order = heapq.heappop(self._heap)
        del self.pending[order.expert]
        self._ahead -= order.kind == PREFETCH

    def neighbours(self, first: Order, batch: int) -> list[Order]:
        """Return a pending prefetch with up to `batch - 1` others that can share its I/O call.

        They are for the same layer and their records adjacent. In ascending order; nothing is removed.
        """
        lowest = highest = first
        while highest.expert - lowest.expert + 1 < batch:
            if after := self._mate(first, highest.expert + 1):
                highest = after
            elif before := self._mate(first, lowest.expert - 1):
                lowest = before
            else:
                break
        return [self.pending[expert] for expert in range(lowest.expert, highest.expert + 1)]

    def _mate(self, first: Order, expert: int) -> Order | None:
        order = self.pending.get(expert)
        return order if order and (order.kind, order.layer) == (first.kind, first.layer) else None
