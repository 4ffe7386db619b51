"""AdapMoE's division of slots among layers (arXiv 2408.10284): a dynamic programme over expected loads.

A layer that reuses its experts, or whose misses are foretold and hidden, can do with fewer slots. The released code
(PKU-SEC-Lab/AdapMoE @2cfe8df, `src/dp.py`) derives expected loads from per-layer accuracies measured on one model, with
experts equally likely; here both come from the warm-up: what a least recently used cache of so many slots would have
missed, forward by forward, and the share of needs that the predictor named.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Missed = NDArray[np.int64]
"""Misses of one layer, `[forwards, slots + 1]`."""


def missed(needs: Sequence[Sequence[int]], most: int) -> Missed:
    """Return what a least recently used cache with 0, 1, ... `most` slots misses in each forward.

    A forward asks for its experts at once: one hits in s slots when fewer than s distinct experts are more recent
    than it when the forward begins (stack distance, Mattson et al. 1970).

    Args:
        needs: the distinct experts of one layer, forward by forward.
    """
    stack: list[int] = []
    found = np.zeros((len(needs), most + 1), np.int64)
    for forward, experts in enumerate(needs):
        places = {expert: place for place, expert in enumerate(stack)}
        for expert in experts:
            found[forward, : min(places.get(expert, most), most) + 1] += 1
        used = set(experts)
        stack = [*reversed(experts), *(expert for expert in stack if expert not in used)]
    return found


def expected_loads(misses: Missed, accuracy: float, hidden: float) -> list[float]:
    """Return by number of slots the transfers that computing does not hide: sum over forwards of

        m - accuracy x min(m, hidden)        m: what the forward misses in so many slots

    With one miss in a forward that is m x (1 - accuracy x min(1, hidden)): being named is worth the share of a transfer
    that there is time for. With hidden = 1 it is the load of the released code, which fetches one expert ahead per
    layer: of two misses that are named, one is left.

    Args:
        accuracy: the share of the layer's needs that the predictor names; 0 where nobody names any, as in the first
            layer, or where nothing is fetched ahead.
        hidden: transfers that fit into the time of the layer before, layer time / transfer time. The link is serial:
            however far ahead is looked, in the time of a layer it carries no more for each.
    """
    loads: list[float] = (misses - accuracy * np.minimum(misses, hidden)).sum(0).tolist()
    return loads


def allocate(loads: Sequence[Sequence[float]], slots: int, least: int) -> list[int]:
    """Return slots per layer with the least total of `loads[layer][slots of the layer]`.

    Args:
        loads: per layer the expected loads with 0, 1, ... slots; none is given more than its table has.
        least: slots that each layer has at least; fewer than what one token uses would be refilled at every token.
            Where there are not enough slots for that, they are divided evenly.
    """
    layers = len(loads)
    if slots < layers * least:
        return evenly(slots, layers)
    best = np.full(slots + 1, np.inf)  # by slots used so far
    best[0] = 0.0
    choices = []
    for table in loads:
        following, choice = np.full(slots + 1, np.inf), np.zeros(slots + 1, np.int64)
        for own in range(least, min(slots, len(table) - 1) + 1):
            total = best[: slots + 1 - own] + table[own]
            better = total < following[own:]
            following[own:][better], choice[own:][better] = total[better], own
        best = following
        choices.append(choice.tolist())
    used = int(np.argmin(best))
    quotas = []
    for chosen in reversed(choices):
        quotas.append(chosen[used])
        used -= chosen[used]
    return quotas[::-1]


def evenly(slots: int, layers: int) -> list[int]:
    """Return the same number of slots for every layer, one more for the first ones where some are left."""
    return [slots // layers + (layer < slots % layers) for layer in range(layers)]
