"""Fast memory, with the views of experts that matrix products need.

Places are what experts are computed from. On a link that really moves records they are slots, each of which holds one;
on an emulated one nothing moves, and an expert is computed from where it lies in host memory: its slot is bookkeeping.
"""

from __future__ import annotations

import torch
from torch import Tensor

from systems.store.checkpoint import ExpertShape
from systems.store.slot_table import SlotTable
from systems.store.store import RamStore


class Places(SlotTable):
    """A slot table whose experts can be computed.

    Attributes:
        matrices: per place the matrices and biases of its record, as `ExpertShape.parts` lists them.
    """

    def __init__(self, shape: ExpertShape, count: int) -> None:
        super().__init__(count, shape.count)
        self._shape = shape
        self.matrices: list[tuple[Tensor, ...]] = []

    def close(self) -> None:
        """Drop all views."""
        self.matrices.clear()

    def add(self, records: Tensor) -> None:
        """Make records `(n, elements)` readable as the next n places."""
        self.matrices += [self._shape.split(row) for row in records]


class Slots(Places):
    """`count` records in one allocation.

    Attributes:
        raw: per slot the whole record as flat uint8, the destination of transfers.
    """

    def __init__(self, shape: ExpertShape, dtype: torch.dtype, count: int, device: torch.device) -> None:
        super().__init__(shape, count)
        self.slab = torch.zeros(count, shape.elements, dtype=dtype, device=device)
        self.add(self.slab)
        self.raw = [row.view(torch.uint8) for row in self.slab]

    def close(self) -> None:
        """Drop the slab and all views of it."""
        super().close()
        self.raw.clear()
        self.slab = self.slab.new_empty(0)

    def home_of(self, expert: int) -> int:
        """Behind the slots, where `add` has put the store."""
        return len(self) + expert

    def row_of(self, place: int) -> int:
        """In which row of the slab the record of a place is."""
        return place

    @property
    def nbytes(self) -> int:
        """Bytes of the slab."""
        return self.slab.nbytes


class LayerSlots(Slots):
    """As many slots as there are experts, in memory for those of one layer, which all layers share: for times on a
    device that does not hold them all. What is computed there is wrong."""

    def __init__(self, shape: ExpertShape, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(shape, dtype, shape.experts, device)
        layers = shape.count // shape.experts
        self.owner, self.pins = [-1] * shape.count, [0] * shape.count
        self.raw, self.matrices = self.raw * layers, self.matrices * layers

    def row_of(self, place: int) -> int:
        """That of the layer's expert in whose stead it is computed."""
        return place % len(self.slab)


class StoreSlots(Places):
    """Slots of an emulated link: who counts as being in fast memory. The records stay where they are, in host memory,
    and are read there, by expert id."""

    def __init__(self, store: RamStore, count: int) -> None:
        super().__init__(store.shape, count)
        self.add(store.slab.view(store.dtype))

    def place_of(self, expert: int) -> int:
        """Where it lies."""
        return expert
