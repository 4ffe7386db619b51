"""The order in which experts cross the link."""

from __future__ import annotations

from collections.abc import Callable

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

    @property
    def demanded(self) -> Order | None:
        """The demand that travels next; None: none is pending."""
        return self._demands[0] if self._demands else None

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

    def take(self, most: int, admit: Callable[[Order], bool]) -> list[Order]:
        """Remove and return what travels next in one I/O call: the first demand, which waits for no other's bytes, or
        up to `most` prefetches of any experts.

        Args:
            admit: gives an order a slot, or refuses. A refused prefetch stays and lets others pass, but none of its own
                layer, who would take the slot that it waits for.
        """
        if self._demands:
            first = self._demands[0]
            if not admit(first):
                return []
            self.cancel(first.expert)
            return [first]
        self._compact()
        taken, refused = list[Order](), set[int]()
        for order in self._prefetches:
            if self.pending.get(order.expert) is not order or order.layer in refused:
                continue
            if not admit(order):
                refused.add(order.layer)
                continue
            taken.append(order)
            if len(taken) == most:
                break
        for order in taken:
            self.cancel(order.expert)
        return taken

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

    def _compact(self) -> None:
        """Let go of prefetches that were taken, cancelled or replaced: those in front, and all where they are most."""
        prefetches, pending = self._prefetches, self.pending
        gone = 0
        while gone < len(prefetches) and pending.get(prefetches[gone].expert) is not prefetches[gone]:
            gone += 1
        if gone:
            del prefetches[:gone]
        if len(prefetches) > 2 * len(pending) + 8:
            self._prefetches = [order for order in prefetches if pending.get(order.expert) is order]


def _before(one: Order, other: Order) -> bool:
    """Whether one prefetch travels before another."""
    if one.urgency != other.urgency:
        return one.urgency < other.urgency
    if one.asked != other.asked:
        return one.asked < other.asked
    return one.expert < other.expert
