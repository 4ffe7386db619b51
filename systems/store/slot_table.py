"""Who owns which slot: the part of fast memory that needs no memory."""

from __future__ import annotations


class SlotTable:
    """`count` slots for the experts of a system, `experts` in all.

    Attributes:
        owner: per slot the id of its expert, or -1.
        pins: per slot the number of readers that forbid eviction.
        of: per expert the slot that holds it, or -1.
    """

    def __init__(self, count: int, experts: int) -> None:
        self.owner = [-1] * count
        self.pins = [0] * count
        self.of = [-1] * experts

    def __len__(self) -> int:
        return len(self.owner)

    def close(self) -> None:
        """Free what the slots are made of at once, whoever still refers to them."""

    @property
    def residents(self) -> list[int]:
        """Experts that have a slot."""
        return [expert for expert in self.owner if expert >= 0]

    def place_of(self, expert: int) -> int:
        """Where an expert that has a slot is read."""
        return self.of[expert]

    def home_of(self, expert: int) -> int:
        """Where an expert is read in slow memory."""
        return expert

    def assign(self, slot: int, expert: int) -> None:
        """Let `slot` hold `expert` in place of what it held: bookkeeping, never a copy, since weights are read-only."""
        if (owner := self.owner[slot]) >= 0:
            self.of[owner] = -1
        self.owner[slot] = expert
        self.of[expert] = slot

    def release(self, slot: int) -> None:
        """Empty a slot."""
        self.of[self.owner[slot]] = -1
        self.owner[slot] = -1
