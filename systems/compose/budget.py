"""What a budget of fast memory affords."""

from __future__ import annotations

from systems.compose.parts import Options
from systems.contract.errors import DidNotFit
from systems.methods.spec_moe.repinning import PinnedOptions
from systems.policies.residency import LruOptions


def affordable_slots(
    options: Options, layers: int, experts: int, top_k: int, record_bytes: int, budget_bytes: int, draft_bytes: int
) -> int:
    """Slots that the budget affords beside the draft, at most one for each of `experts`, those of all `layers`.

    Raises:
        DidNotFit: fewer than what is pinned and one token's experts in one layer.
    """
    count = (budget_bytes - draft_bytes) // record_bytes
    residency = options.residency
    per_layer = residency.per_layer if isinstance(residency, PinnedOptions) else 0
    pinned = per_layer * layers
    if count < min(pinned + top_k, experts):
        least = draft_bytes + (pinned + top_k) * record_bytes
        kept = f", {per_layer} pinned experts in each of {layers} layers" if pinned else ""
        fitting = max(0, (count - top_k) // layers)
        hint = f"; residency.per_layer may be {fitting} at most" if pinned and fitting else ""
        raise DidNotFit(
            f"budget {budget_bytes:,} B is below {least:,} B: draft {draft_bytes:,} B{kept} and one layer's "
            f"{top_k} experts of {record_bytes:,} B{hint}"
        )
    most = residency.slots if isinstance(residency, LruOptions) else None
    if isinstance(residency, PinnedOptions) and not residency.keep_others:
        most = pinned + top_k
    return min(count, experts, most or count)


def divided(
    options: Options, layers: int, experts: int, top_k: int, record_bytes: int, budget_bytes: int, draft_bytes: int
) -> tuple[int, int]:
    """Slots in all, and those beside the draft: fewer where it may be given up for experts, none if it does not fit.

    Raises:
        DidNotFit: as `affordable_slots`.
    """
    numbers = (options, layers, experts, top_k, record_bytes, budget_bytes)
    if not getattr(options.drafter, "optional", False):
        count = affordable_slots(*numbers, draft_bytes)
        return count, count
    count = affordable_slots(*numbers, 0)
    try:
        return count, affordable_slots(*numbers, draft_bytes)
    except DidNotFit:
        return count, 0
