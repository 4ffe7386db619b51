"""How deep to prefetch: SP-MoE's cutoff layer from a latency model (arXiv 2510.10302, section 3.2).

The paper's own equation is not published in a form we could read; this is the condition that it describes:
the deepest cutoff whose prefetches fit in fast memory and have arrived when verification needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepProfile:
    """One draft-verify step in numbers; times in seconds, layers in order of execution.

    Attributes:
        draft_length: tokens drafted, one forward each.
        draft_layer: time of one draft layer at one token.
        verify_layer: time of one target layer at `draft_length + 1` tokens, experts resident.
        transfer: time of one expert over the link.
        hinted: `[drafts][layer]` mean number of experts first hinted by that draft forward that are missing.
        missed: per layer, mean number of experts needed though never hinted, and missing.
        union: per layer, mean number of distinct experts that a verification needs.
        slots: experts that fast memory holds.
    """

    draft_length: int
    draft_layer: float
    verify_layer: float
    transfer: float
    hinted: Sequence[Sequence[float]]
    missed: Sequence[float]
    union: Sequence[float]
    slots: int


def choose_cutoff(profile: StepProfile) -> int:
    """Return the number of leading layers to prefetch, 0 to all.

    A layer is included while (a) the experts hinted for it and those before fit in the slots beside the
    experts that a layer being computed pins, and (b) its transfers have ended when verification reaches it.
    """
    layers = len(profile.missed)
    return max((depth for depth in range(layers + 1) if fits(profile, depth) and hidden(profile, depth)), default=0)


def fits(profile: StepProfile, depth: int) -> bool:
    """Whether the experts prefetched for `depth` layers leave room for the layer being computed."""
    prefetched = sum(sum(forward[:depth]) for forward in profile.hinted)
    return prefetched + max(profile.union) <= profile.slots


def hidden(profile: StepProfile, depth: int) -> bool:
    """Whether every prefetch for the first `depth` layers is in before its layer is verified."""
    ends = drain_times(profile, depth)
    return all(end <= reach for end, reach in zip(ends, reach_times(profile), strict=False))


def drain_times(profile: StepProfile, depth: int) -> list[float]:
    """When the last prefetch of each of the first `depth` layers has crossed the link.

    Draft forward j reaches layer l at `(j * layers + l) * draft_layer` and orders `hinted[j][l]` transfers;
    the link serves them one after the other.
    """
    layers, free = len(profile.missed), 0.0
    ends = [0.0] * depth
    for forward, hinted in enumerate(profile.hinted):
        for layer in range(depth):
            ordered = (forward * layers + layer) * profile.draft_layer
            if hinted[layer]:
                free = max(free, ordered) + hinted[layer] * profile.transfer
                ends[layer] = free
    return ends


def reach_times(profile: StepProfile) -> list[float]:
    """When verification reaches each layer: after drafting, the layers before and their demand fetches."""
    layers = len(profile.missed)
    start = profile.draft_length * layers * profile.draft_layer
    times = []
    for missed in profile.missed:
        times.append(start)
        start += profile.verify_layer + missed * profile.transfer
    return times
