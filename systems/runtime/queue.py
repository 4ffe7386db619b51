"""The order in which experts cross the link."""

from __future__ import annotations

from systems.policies.orders import DEMAND, Order


class TransferQueue:
    """Demands first, as they come; then prefetches by urgency, of equals the older first.

    Orders can be upgraded and cancelled. Not thread-safe; its owner holds a lock.

    Attributes:
        pending: orders by expert.
    """

    def __init__(self) -> None:
        self.pending: dict[int, Order] = {}
        self._demands: list[Order] = []
        self._prefetches: list[Order] = []
        """In the order in which they travel; some have been cancelled or replaced since."""

    def push(self, order: Order) -> None:
        """Add an order, or replace the pending one of the same expert; a prefetch never replaces a demand."""
        if order.kind == DEMAND:
            self._demands.append(order)
        elif (known := self.pending.get(order.expert)) is not None and known.kind == DEMAND:
            return
        else:
            self._insert(order)
        self.pending[order.expert] = order

    def replan(self, orders: dict[int, Order]) -> tuple[list[int], int]:
        """Let these prefetches, by expert, take the place of all others; a pending demand stays, and its expert leaves
        `orders`.

        Returns:
            The experts that were not pending before, and how many are withdrawn.
        """
        for order in self._demands:
            orders.pop(order.expert, None)
        fresh = [expert for expert in orders if expert not in self.pending]
        withdrawn = len(self.pending) - len(self._demands) - (len(orders) - len(fresh))
        self.pending.clear()
        self.pending.update({order.expert: order for order in self._demands})
        self.pending.update(orders)
        self._prefetches.clear()
        for order in orders.values():
            self._insert(order)
        return fresh, withdrawn

    def cancel(self, expert: int) -> None:
        """Withdraw the order of an expert; it must be pending."""
        order = self.pending[expert]
        del self.pending[expert]
        if order.kind == DEMAND:
            self._demands.remove(order)
        if not self.pending:
            self._prefetches.clear()

    def prefetches(self, layer: int | None = None) -> list[int]:
        """Experts with a pending prefetch, of one layer or of all."""
        if len(self.pending) == len(self._demands):
            return []
        return [
            expert
            for expert, order in self.pending.items()
            if order.kind != DEMAND and (layer is None or order.layer == layer)
        ]

    def peek(self) -> Order | None:
        """Return the order that travels next, None if there is none."""
        if self._demands:
            return self._demands[0]
        while self._prefetches:
            order = self._prefetches[0]
            if self.pending.get(order.expert) is order:
                return order
            self._prefetches.pop(0)
        return None

    def neighbours(self, first: Order, batch: int) -> list[Order]:
        """Return a pending order with up to `batch - 1` others that can share its I/O call.

        They are of the same kind for the same layer, and their records adjacent. In ascending order; nothing is
        removed.
        """
        lowest = highest = first
        while highest.expert - lowest.expert + 1 < batch:
            if after := self._mate(first, highest.expert + 1):
                highest = after
            elif before := self._mate(first, lowest.expert - 1):
                lowest = before
            else:
                break
        if lowest is highest:
            return [first]
        return [self.pending[expert] for expert in range(lowest.expert, highest.expert + 1)]

    def _insert(self, order: Order) -> None:
        """Enter a prefetch at its place."""
        low, high = 0, len(self._prefetches)
        if not high or not _before(order, self._prefetches[-1]):  # plans come in order
            self._prefetches.append(order)
            return
        while low < high:
            middle = (low + high) // 2
            if _before(order, self._prefetches[middle]):
                high = middle
            else:
                low = middle + 1
        self._prefetches.insert(low, order)

    def _mate(self, first: Order, expert: int) -> Order | None:
        order = self.pending.get(expert)
        return order if order is not None and order.kind == first.kind and order.layer == first.layer else None


def _before(one: Order, other: Order) -> bool:
    """Whether one prefetch travels before another."""
    if one.urgency != other.urgency:
        return one.urgency < other.urgency
    if one.asked != other.asked:
        return one.asked < other.asked
    return one.expert < other.expert
