"""Residents that follow use where missing experts are computed in slow memory: who was missed moves in, in background.

The engines of 2026 that share the experts between device and host (Strata, Niko1221/Strata; ninfer-offload) fetch
nothing that a layer waits for. Their slots follow the routing all the same: of the experts that a layer has just
missed, one or two per layer and forward are copied beside the computation. A copy takes the link's time from nobody:
it starts where the link has nothing else to carry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from systems.policies.hinting import Hinting
from systems.policies.listening import Chosen, PhaseListener


class Admission(PhaseListener):
    """Orders what each decoding layer has just missed, at most `most` experts, while the link is idle."""

    def __init__(self, hinting: Hinting, most: int) -> None:
        super().__init__()
        self._hinting, self._most = hinting, most

    def routed(self, layer: int, hidden: Any, chosen: Chosen) -> None:
        """Admit those that most of the tokens chose."""
        if self._prefill or not self._hinting.idle():
            return
        if missed := self._hinting.absent(layer, by_rows(chosen)):
            self._hinting.prefetch(layer, missed[: self._most])


def by_rows(chosen: Chosen) -> Sequence[int]:
    """Distinct experts, those with most rows first, of equals those that are mentioned first."""
    rows = Counter(expert for token in chosen for expert in token)
    return sorted(rows, key=lambda expert: -rows[expert])
