"""Gated experts of a few rows by two kernels, out of wherever their records lie: the same bits at every number of rows.

What travels is computed when it has come, by the same two kernels, and the sum of a row is that of its experts in
ascending order whatever the order of their arrivals: each launch notes its products, and adds up those of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec

import torch
from torch import Tensor

from systems.contract.errors import BadInput
from systems.operators.uploading import upload

ABSENT, DONE = -1, -2
"""In a table in the place of a record: an expert that is not here yet, and one that an earlier launch has computed."""
MOST_ROWS = 64
"""Rows up to which this pays: weights are read once per row and expert, and the second time from the device's cache."""
_DTYPES = torch.float32, torch.bfloat16
_ACTIVATE, _ADD_UP = (8, 256), (4, 512)
"""Outputs of a program, and columns of a tile at most. They decide how sums are bracketed: never by the rows."""
UNFUSED = {"enable_fp_fusion": False}
"""How `add_up` is compiled: a product is rounded before it is added, by whichever launch it was computed."""


def require(device: str, dtype: torch.dtype) -> None:
    """Refuse what the kernels do not run on.

    Raises:
        BadInput: the device is the host, triton is not installed, or weights are of another dtype.
    """
    if not device.startswith("cuda"):
        raise BadInput("model.operators=grouped and graphed compute on a CUDA device; set model.device=cuda or "
                       "model.operators=fused")  # fmt: skip
    if dtype not in _DTYPES:
        raise BadInput("model.operators=grouped computes in float32 or bfloat16; set model.dtype=bfloat16 or "
                       "model.operators=fused")  # fmt: skip
    if find_spec("triton") is None:
        raise BadInput("model.operators=grouped needs triton, which PyTorch for CUDA brings along; install it or set "
                       "model.operators=fused")  # fmt: skip


def serves(hidden: Tensor, slab: Tensor) -> bool:
    """Whether the kernels compute rows `(T, H)` with records of that dtype."""
    return 0 < len(hidden) <= MOST_ROWS and hidden.dtype == slab.dtype and hidden.dtype in _DTYPES


class Mixing:
    """The experts of the rows of one layer, added up as they arrive.

    Args:
        slab: records `(n, 3 I H)`: `gate | up` `(2 I, H)` and `down` `(H, I)` one behind the other.
        hidden: `(T, H)`.
        weights: `(T, k)`.
        chosen: `(T, k)`, as lists.

    Attributes:
        mixed: once all experts have been added, their sum `(T, H)`.
    """

    def __init__(self, slab: Tensor, hidden: Tensor, weights: Tensor, chosen: Sequence[Sequence[int]]) -> None:
        tokens, size = hidden.shape
        top = len(chosen[0])
        inner = slab.shape[1] // (3 * size)
        self._slab, self._hidden, self._weights = slab, _aligned(hidden), weights.contiguous()
        self._entries = [
            t * top + rank for t, row in enumerate(chosen) for rank in sorted(range(top), key=row.__getitem__)
        ]
        self._experts = [chosen[entry // top][entry % top] for entry in self._entries]
        self._places = [ABSENT] * len(self._entries)
        self._active = hidden.new_empty(tokens * top, inner)
        self._products = hidden.new_empty(tokens * top, size, dtype=torch.float32)
        self.mixed = hidden.new_empty(tokens, size)

    def add(self, arrived: Iterable[tuple[int, int]]) -> None:
        """Submit experts, each with the row of the slab that holds its record; these may change once what is submitted
        until now has been computed."""
        here = dict(arrived)
        self._places = [here.get(expert, place) for expert, place in zip(self._experts, self._places, strict=True)]
        table = upload(list(zip(self._places, self._entries, strict=True)), self._hidden.device, torch.int32)
        launch(self._hidden, self._slab, table, self._weights, self._active, self._products, self.mixed)
        self._places = [DONE if place >= 0 else place for place in self._places]


def launch(
    hidden: Tensor, slab: Tensor, table: Tensor, weights: Tensor, active: Tensor, products: Tensor, mixed: Tensor
) -> None:
    """Start both kernels; see `systems.operators.grouped_kernels` for what is read and written.

    Args:
        hidden: `(T, H)`.
        slab: `(n, 3 I H)`.
        table: per pair of a row and an expert, place and entry: `(T k, 2)`, int32.
        weights: `(T, k)`.
        active: `(T k, I)`.
        products: `(T k, H)`, float32.
        mixed: `(T, H)`.
    """
    from systems.operators import grouped_kernels as kernels

    (tokens, size), (pairs, inner) = hidden.shape, active.shape
    shape = {"HIDDEN": size, "INNER": inner, "TOP": pairs // tokens}
    rows, columns = _ACTIVATE[0], _fitting(_ACTIVATE[1], size)
    with torch.cuda.device_of(hidden):
        kernels.activate[pairs, -(-inner // rows)](hidden, slab, table, active, **shape, ROWS=rows, COLUMNS=columns)
        rows, columns = _ADD_UP[0], _fitting(_ADD_UP[1], inner)
        kernels.add_up[tokens, -(-size // rows)](
            active, slab, table, weights, products, mixed, **shape, ROWS=rows, COLUMNS=columns, **UNFUSED
        )


def _fitting(most: int, size: int) -> int:
    """Return the columns of a tile: no more than the power of two that holds a whole row."""
    return min(most, 1 << (size - 1).bit_length())


def _aligned(rows: Tensor) -> Tensor:
    """Return rows that lie one behind the other from an address that 16 divides: kernels are compiled for such, and
    others would be compiled otherwise."""
    rows = rows.contiguous()
    return rows if rows.data_ptr() % 16 == 0 else rows.clone()
