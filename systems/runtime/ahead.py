"""Drafting on while a verification waits.

While the host computes what is missing, and while experts travel, the device has nothing to do. A draft model could go
on from the last drafted token meanwhile, on a stream of its own: if the verification then accepts all drafts and adds
the very token that the draft has gone on with, the next draft is there (as in PEARL, arXiv 2408.11850). On an emulated
machine such a draft is computed when it is known that it stands, and what the device would have computed of it in its
waits takes no time of the clock. Where it does not stand it has cost nothing: the device was waiting.
"""

from __future__ import annotations

from systems.cache.clock import Clock


class DraftAhead:
    """Knows how long the device has waited during the last verification, and hides drafting in that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waited = clock.waited
        """Of the clock, when the last draft was complete."""

    def drafted(self, began: float, tokens: int, foreseen: bool) -> None:
        """So many tokens have been drafted since `began` (s).

        Drafting ahead, one token more is to be drafted, the one that the target has added.

        Args:
            foreseen: whether they go on from what the draft alone would have gone on with.
        """
        idle, took = self._clock.waited - self._waited, self._clock.now() - began
        if foreseen and tokens and (hidden := min(took, idle - took / tokens)) > 0:
            self._clock.hide(hidden)
        self._waited = self._clock.waited
