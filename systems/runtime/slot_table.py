"""Who owns which slot: the part of fast memory that needs no memory."""

from __future__ import annotations


class SlotTable:
    """`count` slots.

    Attributes:
        owner: per slot the id of its expert, or -1.
        pins: per slot the number of readers that forbid eviction.
        of: slot of each resident expert.
    """

    def __init__(self, count: int) -> None:
        self.owner = [-1] * count
        self.pins = [0] * count
        self.of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.owner)

    def assign(self, slot: int, expert: int) -> None:
        """Let `slot` hold `expert` in place of what it held: bookkeeping, never a copy, since weights are read-only."""
        if (owner := self.owner[slot]) >= 0:
            del self.of[owner]
        self.owner[slot] = expert
        self.of[expert] = slot

    def release(self, slot: int) -> None:
        """Empty a slot."""
        del self.of[self.owner[slot]]
        self.owner[slot] = -1
