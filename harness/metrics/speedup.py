"""Ratio of two systems' pooled TPOT on the same prompts.

Prevents two misreadings: a mean of per-prompt ratios taken for a speedup, in which short outputs would weigh as
much as long ones; and a speedup over a weak baseline taken for progress, beside which stands the one over the best.
"""

from __future__ import annotations

import math

from harness.metrics.base import Definition, Value
from harness.metrics.pairing import Sides, ratio, shared

SPEEDUP = Definition(
    "speedup@1", "x", "higher", "pooled TPOT of the baseline / pooled TPOT of the system, paired over prompts"
)
SPEEDUP_GEOMEAN = Definition(
    "speedup_geomean@1", "x", "higher", "geometric mean over batches of prompts of TPOT ratios"
)
OVER_BEST = Definition(
    "speedup_over_best@1",
    "x",
    "higher",
    "speedup over the fastest of the run's other baselines that are lossless and `ok`",
)
BEST = "speedup_over_best"


def over(name: str, baseline: Sides, system: Sides) -> dict[str, Value]:
    """Speedup of `system` over the baseline called `name`, pooled and as the geometric mean."""
    return {
        f"speedup_over_{name}": ratio(SPEEDUP, baseline, system, name),
        f"speedup_geomean_over_{name}": _geomean(name, baseline, system),
    }


def over_best(best: str | None, sides: dict[str, Sides], system: Sides) -> dict[str, Value]:
    """Speedup of `system` over `best`, the fastest other baseline; None where there is no such baseline."""
    if best is None:
        return {BEST: OVER_BEST.unknown("no other baseline of this run is lossless and `ok`")}
    return {BEST: ratio(OVER_BEST, sides[best], system, best, best)}


def _geomean(name: str, baseline: Sides, system: Sides) -> Value:
    pairs = [(t, o) for t, o in shared(baseline, system) if t[0] and o[0]]
    if not pairs:
        return SPEEDUP_GEOMEAN.unknown(f"no prompt was finished by both this system and {name}")
    logs = [math.log((t[0] / t[1]) / (o[0] / o[1])) for t, o in pairs]
    return SPEEDUP_GEOMEAN.known(math.exp(math.fsum(logs) / len(logs)), len(pairs))
