"""What a budget of fast memory affords."""

from __future__ import annotations

from systems.api import DidNotFit
from systems.parts import Options
from systems.policies.residency import LruOptions


def affordable_slots(
    options: Options, experts: int, top_k: int, record_bytes: int, budget_bytes: int, draft_bytes: int
) -> int:
    """Slots that the budget affords beside the draft, at most one for each of `experts`.

    Raises:
        DidNotFit: fewer than one token's experts in one layer.
    """
    count = (budget_bytes - draft_bytes) // record_bytes
    if count < top_k:
        least = draft_bytes + top_k * record_bytes
        raise DidNotFit(
            f"budget {budget_bytes:,} B is below {least:,} B: draft {draft_bytes:,} B and one layer's "
            f"{top_k} experts of {record_bytes:,} B"
        )
    most = options.residency.slots if isinstance(options.residency, LruOptions) else None
    return min(count, experts, most or count)
