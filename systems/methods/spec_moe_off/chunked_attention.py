"""Attention of several drafted tokens over long prefixes, on the processor whose memory holds keys and values.

SpecMoEOff (arXiv 2508.21706): the keys and values of a request are read once for all its drafted tokens and, here,
for all query heads that share them; only the part of the mask that concerns the drafted tokens is made, since the
prefix is visible to all of them; requests are computed in parallel, by torch's own threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

PADDING = 256
"""Positions of padding, over all rows of a group, that cost as much as computing the group in two calls."""


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring rows of similar length, computed together.

    Attributes:
        first, stop: the rows `[first, stop)`, padded to the longest.
        visible: positions that precede the drafted tokens of every row.
        end: positions in all.
        mask: `(rows, 1, 1, n, end - visible)`, -inf where a token may not read; the rest of it is not made.
    """

    first: int
    stop: int
    visible: int
    end: int
    mask: Tensor


def chunked_attention(query: Tensor, keys: Tensor, values: Tensor, starts: Sequence[int], scale: float) -> Tensor:
    """Attend from the drafted tokens of each row to its prefix and to one another.

    Args:
        query: `(B, heads, n, d)`; token i of row b is at position `starts[b] + i`.
        keys: `(B, key heads, S, d)`, at their positions; what lies behind a row's last token is not read.
        values: as `keys`.
        starts: length of each row's prefix.
        scale: factor of the products before the softmax.

    Returns:
        `(B, n, heads, d)`.

    Raises:
        ValueError: no rows, no tokens, or more positions than there are keys.
    """
    rows, heads, width, dim = query.shape
    if not rows or not width:
        raise ValueError(f"nothing to attend from: {rows} rows of {width} tokens")
    if max(starts) + width > keys.shape[2]:
        raise ValueError(f"position {max(starts) + width} is beyond the {keys.shape[2]} keys")
    output = query.new_empty(rows, width, heads, values.shape[-1])
    grouped = query.reshape(rows, keys.shape[1], -1, dim) * scale
    for group in groups(tuple(starts), width):
        some = slice(group.first, group.stop)
        found = _attend(grouped[some], keys[some, :, : group.end], values[some, :, : group.end], group, width)
        output[some] = found.view(group.stop - group.first, heads, width, -1).transpose(1, 2)
    return output


def _attend(query: Tensor, keys: Tensor, values: Tensor, group: Group, width: int) -> Tensor:
    """Attend within a group; `query` and the result are `(rows, key heads, heads per key head * n, d)`."""
    rows, key_heads = keys.shape[:2]
    scores = query @ keys.transpose(2, 3)
    scores.view(rows, key_heads, -1, width, group.end)[..., group.visible :] += group.mask
    return scores.softmax(-1) @ values


@lru_cache(maxsize=4)
def groups(starts: tuple[int, ...], width: int) -> tuple[Group, ...]:
    """Cut rows into groups, such that no row is padded by more than what another call costs.

    The layers of a forward ask the same; the answer is kept for them.
    """
    found, first = [], 0
    for row in range(1, len(starts) + 1):
        if row == len(starts) or _padding(starts[first : row + 1]) > PADDING:
            found.append(_group(starts, first, row, width))
            first = row
    return tuple(found)


def _padding(starts: Sequence[int]) -> int:
    return max(starts) * len(starts) - sum(starts)


def _group(starts: Sequence[int], first: int, stop: int, width: int) -> Group:
    own = torch.tensor(starts[first:stop])
    visible, end = int(own.min()), int(own.max()) + width
    last = (own - visible)[:, None] + torch.arange(width)  # that token i of a row may read
    forbidden = torch.arange(end - visible) > last[:, :, None]
    mask = torch.zeros(forbidden.shape).masked_fill(forbidden, float("-inf"))
    return Group(first, stop, visible, end, mask[:, None, None])
