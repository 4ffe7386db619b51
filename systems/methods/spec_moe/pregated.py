"""MoE-Overlap, SpecMoE's baseline (arXiv 2604.10152): Pre-gated MoE (arXiv 2308.12066) made oracular.

Pre-gated MoE trains each layer to route for the next one, so that a layer's experts travel while the one before it
computes. Here the routing is the model's own, known from a rehearsal: what is fetched is exact, and never further
ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from systems.methods.oracle.belady import Mismatch
from systems.policies.hinting import Hinting
from systems.policies.listening import Chosen, Rehearsing, distinct


class NextNeeds(Rehearsing):
    """Names what the next layer needs, in the last layer what the first one of the next forward does."""

    def __init__(self, hinting: Hinting) -> None:
        super().__init__()
        self._hinting = hinting
        self._needs: list[tuple[int, Sequence[int]]] = []
        self._recording = self._following = False
        self._met = 0

    def rehearse(self) -> None:
        """Record the next generation."""
        self._needs, self._recording = [], True

    def perform(self, starts: Sequence[Sequence[int]]) -> Sequence[int]:
        """Follow what was recorded in the next generation, from the first of these residents."""
        self._recording, self._following, self._met = False, True, 0
        return starts[0]

    def decoding(self) -> None:
        """Prompts are read: name what comes first."""
        super().decoding()
        self._name()

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Record a need, or name the one behind it.

        Raises:
            Mismatch: the run left the course that was rehearsed.
        """
        if self._prefill or not (self._recording or self._following):
            return
        need = (layer, sorted(distinct(chosen)))
        if self._recording:
            self._needs.append(need)
            return
        if self._met >= len(self._needs) or self._needs[self._met] != need:
            raise Mismatch(f"need {self._met} is layer {layer}, experts {need[1]}; the rehearsal had another")
        self._met += 1
        self._name()

    def end_step(self) -> None:
        """Hints were forgotten; name what comes next again."""
        self._name()

    def end(self) -> None:
        """What comes next is unknown again."""
        self._following = False

    def _name(self) -> None:
        if self._following and self._met < len(self._needs):
            self._hinting.prefetch(*self._needs[self._met])
