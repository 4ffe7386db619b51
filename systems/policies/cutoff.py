"""How deep to prefetch: SP-MoE's cutoff layer from a latency model (arXiv 2510.10302, section 3.2).

The paper chooses the cutoff from a profile and an analytical model, such that prefetched experts fit and
arrive in time; its own equation is not published in a form we could read. Ours follows one step in expected
values: hints queue up while drafting, the link drains the queue in order of layers, verification takes what
has arrived and waits for the rest. The cutoff is the depth with the shortest step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepProfile:
    """One draft-verify step in expected values; times in seconds, layers in order of execution.

    Attributes:
        draft_layer: time of one draft layer at one token.
        verify_layer: time of one target layer at draft length + 1 tokens, experts resident.
        transfer: time of one expert over the link.
        hinted: `[drafts][layer]` experts that this draft forward is the first to name and that are missing.
        useful: per layer, the share of hinted experts that verification needs.
        missed: per layer, experts needed though never hinted, and missing.
        union: per layer, distinct experts that verification needs.
        slots: experts that fast memory holds.
    """

    draft_layer: float
    verify_layer: float
    transfer: float
    hinted: Sequence[Sequence[float]]
    useful: Sequence[float]
    missed: Sequence[float]
    union: Sequence[float]
    slots: int

    @property
    def layers(self) -> int:
        """Number of MoE layers."""
        return len(self.missed)


def choose_cutoff(profile: StepProfile) -> int:
    """Return the number of leading layers to prefetch; of equally fast ones the smallest, which moves least."""
    return min(range(profile.layers + 1), key=lambda depth: (round(step_time(profile, depth), 9), depth))


def step_time(profile: StepProfile, depth: int) -> float:
    """Return the expected time (s) of a step that prefetches for the first `depth` layers."""
    link = _Link(profile)
    for hinted in profile.hinted:
        for layer in range(profile.layers):
            if layer < depth:
                link.order(layer, hinted[layer])
            link.run(profile.draft_layer)
    waited = 0.0
    for layer in range(profile.layers):
        waited += link.fetch(layer) * profile.transfer
        link.run(profile.verify_layer)
    return waited + profile.layers * (len(profile.hinted) * profile.draft_layer + profile.verify_layer)


class _Link:
    """Prefetches of one step: queued and landed experts per layer, as expected numbers."""

    def __init__(self, profile: StepProfile) -> None:
        self._profile = profile
        self._ordered = [0.0] * profile.layers
        self._landed = [0.0] * profile.layers
        # What is being computed is pinned, so prefetches have the other slots; they wait when those are full.
        self._room = max(profile.slots - max(profile.union), 0.0)

    def order(self, layer: int, experts: float) -> None:
        """Queue prefetches for a layer."""
        self._ordered[layer] += experts

    def run(self, seconds: float) -> None:
        """Let the link carry what is queued, shallow layers first, for as long as slots allow."""
        budget = seconds / self._profile.transfer if self._profile.transfer else float("inf")
        for layer, ordered in enumerate(self._ordered):
            allowed = min(budget, self._room)
            carried = min(ordered - self._landed[layer], allowed)
            self._landed[layer] += carried
            self._room -= carried
            budget -= carried

    def fetch(self, layer: int) -> float:
        """Verify a layer: return the experts it waits for, and free the slots of those prefetched for it.

        What is needed of the layer's hints but has not landed is fetched now, on demand or upgraded; queued
        hints that turn out wrong are withdrawn.
        """
        hinted = sum(forward[layer] for forward in self._profile.hinted)
        absent = (hinted - self._landed[layer]) * self._profile.useful[layer]
        self._room += self._landed[layer]
        self._ordered[layer] = self._landed[layer] = 0.0
        return self._profile.missed[layer] + absent
