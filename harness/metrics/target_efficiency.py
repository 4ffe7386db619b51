"""Target efficiency (MoESD): the compute of decoding one token beside that of verifying a whole draft.

Prevents crediting prefetching with what a small model's flat compute curve gives for free.
"""

from __future__ import annotations

from harness.metrics.base import Cell, Definition, Value

EFFICIENCY = Definition(
    "target_efficiency@1",
    "-",
    "higher",
    "T_target(B, 1) / T_target(B, draft length + 1), one layer, experts resident",
)


def measure(cell: Cell) -> dict[str, Value]:
    """Ratio of layer times at one position and at a whole draft, from the start-up calibration."""
    drafted = [d for g in cell.generations for step in g.steps for d in step.drafted]
    rows = max((len(step.rows) for g in cell.generations for step in g.steps), default=0)
    longest = max(drafted, default=0)
    if not longest:
        return {"target_efficiency": EFFICIENCY.unknown("nothing was drafted")}
    one, many = cell.layer_times.get(rows), cell.layer_times.get(rows * (longest + 1))
    if one is None or many is None:
        return {"target_efficiency": EFFICIENCY.unknown("these widths were not timed at start-up")}
    return {"target_efficiency": EFFICIENCY.known(one / many, 1)}
