"""How deep to prefetch: SP-MoE's cutoff layer (arXiv 2510.10302, section 3.2).

The paper chooses the cutoff from a profile and an analytical model, such that prefetched experts fit and arrive in
time; its own equation is not published in a form we could read. A model of expected values cannot say what a prefetch
costs that evicts an expert which is needed again. So the warm-up's steps are played over at every depth, through a
cache like the one that runs, and the depth with the shortest step is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

FEW = 16
"""Up to so many layers every depth is played; of more every eighth of them, and then those around the best."""


def times_by_depth(play: Callable[[int], float], layers: int) -> dict[int, float]:
    """Return the step time (s) by number of leading layers that are prefetched, as far as it was played.

    Args:
        play: returns it for one depth.
    """
    if layers <= FEW:
        return {depth: play(depth) for depth in range(layers + 1)}
    stride = layers // 8
    times = {depth: play(depth) for depth in [*range(0, layers, stride), layers]}
    around = shortest(times)
    for depth in range(max(around - stride + 1, 0), min(around + stride, layers + 1)):
        if depth not in times:
            times[depth] = play(depth)
    return dict(sorted(times.items()))


def shortest(times: Mapping[int, float]) -> int:
    """Return the depth with the shortest step; of equally fast ones the smallest, which moves least."""
    return min(times, key=lambda depth: (round(times[depth], 9), depth))
