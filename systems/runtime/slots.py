"""Fast memory: one slab of slots, each of which holds one expert record."""

from __future__ import annotations

import torch

from systems.runtime.checkpoint import ExpertShape
from systems.runtime.slot_table import SlotTable


class Slots(SlotTable):
    """`count` records in one allocation, with the views that copies and matrix products need.

    Attributes:
        gate_up: per place `(2 I, H)`, gate rows first. Places are the slots, and behind them whatever
            `annex` has made readable where it lies.
        down: per place `(H, I)`.
        raw: per slot the whole record as flat uint8, the destination of transfers.
    """

    def __init__(self, shape: ExpertShape, dtype: torch.dtype, count: int, device: torch.device) -> None:
        super().__init__(count, shape.count)
        hidden, intermediate = shape.hidden, shape.intermediate
        self._split = 2 * hidden * intermediate
        self._hidden, self._intermediate = hidden, intermediate
        self.slab = torch.zeros(count, shape.elements, dtype=dtype, device=device)
        self.gate_up: list[torch.Tensor] = []
        self.down: list[torch.Tensor] = []
        self.annex(self.slab)
        self.raw = [row.view(torch.uint8) for row in self.slab]

    @property
    def nbytes(self) -> int:
        """Bytes of the slab."""
        return self.slab.nbytes

    def annex(self, records: torch.Tensor) -> None:
        """Make records `(n, elements)` readable as the next n places."""
        self.gate_up += [row[: self._split].view(2 * self._intermediate, self._hidden) for row in records]
        self.down += [row[self._split :].view(self._hidden, self._intermediate) for row in records]
