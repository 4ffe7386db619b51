"""Ratio of two systems' pooled TPOT on the same prompts.

Prevents the misreading of a mean of per-prompt ratios as a speedup: short outputs would weigh as much as
long ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from harness.metrics.base import Definition, Value
from harness.metrics.bootstrap import Pair, paired_interval

SPEEDUP = Definition(
    "speedup@1", "x", "higher", "pooled TPOT of the baseline / pooled TPOT of the system, paired over prompts"
)
SPEEDUP_GEOMEAN = Definition(
    "speedup_geomean@1", "x", "higher", "geometric mean over batches of prompts of TPOT ratios"
)
Sides = Mapping[int, Pair]
"""Seconds and tokens by batch of prompts."""


def measure(name: str, baseline: Sides, system: Sides, seed: int) -> dict[str, Value]:
    """Speedup of `system` over the baseline called `name`, pooled and as the geometric mean.

    Batches that either side did not finish with two tokens are left out of both.
    """
    shared = [b for b in sorted(baseline) if b in system and baseline[b][1] and system[b][1]]
    ids = (f"speedup_over_{name}", f"speedup_geomean_over_{name}")
    if not shared:
        reason = f"no prompt was finished by both this system and {name}"
        return {ids[0]: SPEEDUP.unknown(reason), ids[1]: SPEEDUP_GEOMEAN.unknown(reason)}
    ours, theirs = [system[b] for b in shared], [baseline[b] for b in shared]
    value, low, high = paired_interval(theirs, ours, seed)
    logs = [math.log((t[0] / t[1]) / (o[0] / o[1])) for o, t in zip(ours, theirs, strict=True)]
    geomean = math.exp(math.fsum(logs) / len(logs))
    return {
        ids[0]: SPEEDUP.known(value, len(shared), low, high),
        ids[1]: SPEEDUP_GEOMEAN.known(geomean, len(shared)),
    }
