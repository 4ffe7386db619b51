"""AdapMoE's division of slots among layers (arXiv 2408.10284): a dynamic programme over expected loads.

A layer that reuses its experts, or whose needs are predicted well, can do with fewer slots. The released code
(PKU-SEC-Lab/AdapMoE @2cfe8df) computes expected loads from per-layer prediction accuracies measured on one
model and a cache model; here both come from the warm-up: misses by number of slots from the recorded routing
(least recently used, exactly), accuracy as the share of needs that the predictor named.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def lru_misses(needs: Sequence[Sequence[int]], most: int) -> list[int]:
    """Return the misses of a least-recently-used cache with 0, 1, ... `most` slots, in one pass.

    An expert hits in a cache of s slots when fewer than s distinct experts were used since its last use (stack
    distance, Mattson et al. 1970).

    Args:
        needs: the experts of one layer, forward by forward.
    """
    stack: list[int] = []
    hits = [0] * (most + 1)
    total = 0
    for experts in needs:
        for expert in experts:
            total += 1
            if expert in stack:
                distance = stack.index(expert)
                stack.pop(distance)
                if distance + 1 <= most:
                    hits[distance + 1] += 1
            stack.insert(0, expert)
    misses, seen = [], 0
    for slots in range(most + 1):
        seen += hits[slots]
        misses.append(total - seen)
    return misses


def expected_loads(misses: Sequence[int], accuracy: float) -> list[float]:
    """Return the loads that nothing hides, by number of slots: misses that the predictor did not name."""
    return [count * (1.0 - accuracy) for count in misses]


def allocate(loads: Sequence[Sequence[float]], slots: int) -> list[int]:
    """Return slots per layer with the least total of `loads[layer][slots of the layer]`; each layer gets one.

    Args:
        loads: per layer the expected loads with 0, 1, ... slots; none is given more than its table has.

    Raises:
        ValueError: fewer slots than layers.
    """
    layers = len(loads)
    if slots < layers:
        raise ValueError(f"{slots} slots cannot be divided among {layers} layers")
    best = np.full(slots + 1, np.inf)  # by slots used so far
    best[0] = 0.0
    choices = []
    for table in loads:
        following, choice = np.full(slots + 1, np.inf), np.zeros(slots + 1, np.int64)
        for own in range(1, min(slots, len(table) - 1) + 1):
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
