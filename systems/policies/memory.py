"""What a budget of fast memory affords."""

from __future__ import annotations

from dataclasses import dataclass, replace

from systems.contract.errors import DidNotFit


@dataclass(frozen=True, slots=True)
class Memory:
    """Fast memory, and what is to go into it.

    Attributes:
        layers: MoE layers; `experts` are those of all of them, each of `record_bytes`; a token uses `top_k` of a layer.
        budget_bytes: what there is for experts and draft.
        draft_bytes: what the draft takes, and copies that stand for experts.
    """

    layers: int
    experts: int
    top_k: int
    record_bytes: int
    budget_bytes: int
    draft_bytes: int

    def divided(self, per_layer: int, most: int | None, optional: bool) -> tuple[int, int]:
        """Slots in all, and those beside the draft; see `ResidencyPart.afford`."""
        if not optional:
            count = self.affordable(per_layer, most)
            return count, count
        count = replace(self, draft_bytes=0).affordable(per_layer, most)
        try:
            return count, self.affordable(per_layer, most)
        except DidNotFit:
            return count, 0

    def affordable(self, per_layer: int, most: int | None) -> int:
        """Slots beside the draft, at most one for each expert.

        Args:
            per_layer: experts of each layer that are pinned.
            most: slots at most; None: all that the budget affords.

        Raises:
            DidNotFit: fewer than what is pinned and one token's experts in one layer.
        """
        count = (self.budget_bytes - self.draft_bytes) // self.record_bytes
        pinned = per_layer * self.layers
        if count < min(pinned + self.top_k, self.experts):
            raise DidNotFit(self._lacking(per_layer, count))
        return min(count, self.experts, most or count)

    def held(self, slots: int, beside: int) -> int:
        """Bytes that so many slots take, or those beside the draft with the draft, whichever is more."""
        return max(slots * self.record_bytes, beside * self.record_bytes + self.draft_bytes)

    def _lacking(self, per_layer: int, count: int) -> str:
        pinned, top_k = per_layer * self.layers, self.top_k
        least = self.draft_bytes + (pinned + top_k) * self.record_bytes
        kept = f", {per_layer} pinned experts in each of {self.layers} layers" if pinned else ""
        fitting = max(0, (count - top_k) // self.layers)
        hint = f"; residency.per_layer may be {fitting} at most" if pinned and fitting else ""
        return (
            f"budget {self.budget_bytes:,} B is below {least:,} B: draft {self.draft_bytes:,} B{kept} and one layer's "
            f"{top_k} experts of {self.record_bytes:,} B{hint}"
        )
