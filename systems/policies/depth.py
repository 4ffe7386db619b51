"""How deep is prefetched."""

from __future__ import annotations

from typing import Any, Literal


class Depth:
    """How many leading MoE layers are prefetched; with `auto`, all of them until warm-up has been seen."""

    def __init__(self, cutoff: int | Literal["auto"], layers: int) -> None:
        self.auto = cutoff == "auto"
        self.layers = layers if cutoff == "auto" else min(cutoff, layers)

    def __call__(self) -> int:
        """Return the depth in force."""
        return self.layers

    def describe(self) -> dict[str, Any]:
        """The depth in force, for the record."""
        return {"cutoff": self.layers, "cutoff_auto": self.auto}
