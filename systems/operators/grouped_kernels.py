"""Two kernels in Triton that compute gated experts out of a slab of records; `systems.operators.grouped` starts them.

Whoever imports this needs triton. A program computes a few outputs of one row, tile by tile in ascending order, and
what it computes does not depend on how many rows there are: neither do the bits. Sums are in float32.

A table says of each pair of a row and one of its experts, `TOP` of them a row in ascending order of experts, where the
expert's record lies in the slab (-1: it is not here, -2: an earlier launch has computed it), and where its weight lies
in the router's output: `(T * TOP, 2)`, int32.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize_on_alignment=["table"])  # type: ignore[untyped-decorator]
def activate(
    hidden: tl.tensor,
    slab: tl.tensor,
    table: tl.tensor,
    active: tl.tensor,
    HIDDEN: tl.constexpr,
    INNER: tl.constexpr,
    TOP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Write `silu(gate x) * up x` of every pair whose expert is here; program `(pair, tile of ROWS outputs)`.

    Args:
        hidden: `(T, HIDDEN)`.
        slab: records of `gate | up` `(2 INNER, HIDDEN)` and `down` `(HIDDEN, INNER)`, one behind the other.
        active: `(T * TOP, INNER)`.
    """
    pair = tl.program_id(0)
    place = tl.load(table + 2 * pair)
    if place >= 0:
        rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
        columns = tl.arange(0, COLUMNS)
        record = slab + place.to(tl.int64) * (3 * HIDDEN * INNER)
        gate = tl.zeros([ROWS, COLUMNS], tl.float32)
        up = tl.zeros([ROWS, COLUMNS], tl.float32)
        for start in range(0, HIDDEN, COLUMNS):
            inside = (rows < INNER)[:, None] & (start + columns < HIDDEN)[None, :]
            tile = rows[:, None] * HIDDEN + (start + columns)[None, :]
            # As large as the tile of weights, whose layout among threads it then has: nobody hands numbers over.
            x = tl.load(
                hidden + pair // TOP * HIDDEN + 0 * rows[:, None] + (start + columns)[None, :], mask=inside, other=0.0
            ).to(tl.float32)
            gate += tl.load(record + tile, mask=inside, other=0.0).to(tl.float32) * x
            up += tl.load(record + INNER * HIDDEN + tile, mask=inside, other=0.0).to(tl.float32) * x
        gates = tl.sum(gate, 1)
        activated = gates / (1.0 + tl.exp(-gates)) * tl.sum(up, 1)
        tl.store(active + pair * INNER + rows, activated.to(active.dtype.element_ty), mask=rows < INNER)


@triton.jit(do_not_specialize_on_alignment=["table", "weights"])  # type: ignore[untyped-decorator]
def add_up(
    active: tl.tensor,
    slab: tl.tensor,
    table: tl.tensor,
    weights: tl.tensor,
    products: tl.tensor,
    mixed: tl.tensor,
    HIDDEN: tl.constexpr,
    INNER: tl.constexpr,
    TOP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Add up `down` of what is active, by its weights, in ascending order of experts: of those that are here and those
    that were; program `(row, tile of ROWS outputs)`.

    Args:
        active: `(T * TOP, INNER)`.
        slab: as `activate` reads it.
        weights: of the router, `(T, TOP)`.
        products: of each pair, for the launches to come, `(T * TOP, HIDDEN)`, float32.
        mixed: `(T, HIDDEN)`.
    """
    token = tl.program_id(0)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    total = tl.zeros([ROWS], tl.float32)
    for rank in range(TOP):
        pair = token * TOP + rank
        place = tl.load(table + 2 * pair)
        if place >= 0:
            matrix = slab + place.to(tl.int64) * (3 * HIDDEN * INNER) + 2 * HIDDEN * INNER
            down = tl.zeros([ROWS, COLUMNS], tl.float32)
            for start in range(0, INNER, COLUMNS):
                inside = (rows < HIDDEN)[:, None] & (start + columns < INNER)[None, :]
                tile = rows[:, None] * INNER + (start + columns)[None, :]
                x = tl.load(
                    active + pair * INNER + 0 * rows[:, None] + (start + columns)[None, :], mask=inside, other=0.0
                ).to(tl.float32)
                down += tl.load(matrix + tile, mask=inside, other=0.0).to(tl.float32) * x
            weight = tl.load(weights + tl.load(table + 2 * pair + 1)).to(tl.float32)
            product = tl.sum(down, 1) * weight
            tl.store(products + pair * HIDDEN + rows, product, mask=rows < HIDDEN)
            total += product
        elif place == -2:
            total += tl.load(products + pair * HIDDEN + rows, mask=rows < HIDDEN, other=0.0)
    tl.store(mixed + token * HIDDEN + rows, total.to(mixed.dtype.element_ty), mask=rows < HIDDEN)
