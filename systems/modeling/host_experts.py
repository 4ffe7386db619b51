"""Experts that the host computes beside a device, out of slow memory (Fiddler, arXiv 2402.07033)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from systems.cache.arrivals import Visit
from systems.modeling.experts import Arithmetic, Dispatch, Matrix


class HostExperts:
    """What a layer is handed out, some of it to be computed on the host.

    The layer's input is copied to the host before any of its experts is submitted, since a copy comes behind what is
    submitted; the device computes those that are there meanwhile. What the host has computed goes back in page-locked
    memory, and nobody waits for it.

    Args:
        hidden: `(T, H)`, on the device.
        first: place from which on records are in slow memory.
    """

    def __init__(self, visit: Visit, dispatch: Dispatch, hidden: Tensor, first: int) -> None:
        self._visit, self._dispatch, self._first = visit, dispatch, first
        self._hidden, self._device = hidden.cpu(), hidden.device
        ends = list(accumulate(dispatch.needed.values()))
        self._rows = dict(zip(dispatch.needed, zip([0, *ends], ends, strict=False), strict=True))
        self._expert = self._place = -1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield experts with their places, as the visit does."""
        for expert, place in self._visit:
            self._expert, self._place = expert, place
            yield expert, place

    def arithmetic(self, own: Arithmetic) -> Arithmetic:
        """Return what computes each expert where its record is, given what computes one."""

        def compute(rows: Tensor, matrices: Sequence[Matrix]) -> Tensor:
            if self._place < self._first:
                return own(rows, matrices)
            product = own(self._hidden[self._tokens()], matrices)
            if self._device.type != "cuda":
                return product.to(self._device)
            locked = torch.empty(product.shape, dtype=product.dtype, pin_memory=True).copy_(product)
            return locked.to(self._device, non_blocking=True)

        return compute

    def _tokens(self) -> list[int]:
        """The tokens that the expert which was handed out last computes, in the order of its rows."""
        start, stop = self._rows[self._expert]
        top_k = len(self._dispatch.chosen[0])
        return [entry // top_k for entry in self._dispatch.entries[start:stop]]
