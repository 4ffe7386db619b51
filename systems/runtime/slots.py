"""Fast memory: one slab of slots, each of which holds one expert record."""

from __future__ import annotations

import torch

from systems.runtime.checkpoint import ExpertShape


class Slots:
    """`count` records in one allocation, with the views that copies and matrix products need.

    Attributes:
        gate_up: per slot `(2 I, H)`, gate rows first.
        down: per slot `(H, I)`.
        raw: per slot the whole record as flat uint8, the destination of transfers.
        owner: per slot the id of its expert, or -1.
        pins: per slot the number of readers that forbid eviction.
    """

    def __init__(self, shape: ExpertShape, dtype: torch.dtype, count: int, device: torch.device) -> None:
        hidden, intermediate = shape.hidden, shape.intermediate
        split = 2 * hidden * intermediate
        self.slab = torch.zeros(count, shape.elements, dtype=dtype, device=device)
        self.gate_up = [row[:split].view(2 * intermediate, hidden) for row in self.slab]
        self.down = [row[split:].view(hidden, intermediate) for row in self.slab]
        self.raw = [row.view(torch.uint8) for row in self.slab]
        self.owner = [-1] * count
        self.pins = [0] * count
        self.of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def nbytes(self) -> int:
        """Bytes of the slab."""
        return self.slab.nbytes

    def assign(self, slot: int, expert: int) -> None:
        """Let `slot` hold `expert`."""
        self.owner[slot] = expert
        self.of[expert] = slot

    def release(self, slot: int) -> None:
        """Empty a slot: a change of bookkeeping, never a copy, since weights are read-only."""
        del self.of[self.owner[slot]]
        self.owner[slot] = -1
