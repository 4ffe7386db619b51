"""What speculation gains for a dense model with as many active weights, at the same acceptance (MoESD, figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.studies.moesd.fit import Point
from systems import api


def control(pair: api.ModelPair, points: Sequence[Point], context: int) -> list[Point]:
    """Return the points of the model's own number of experts per token, the target's times those of a dense one.

    Args:
        context: positions before the forward that is timed.
    """
    own = [point for point in points if point.setting.top_k == pair.top_k]
    widths = sorted({1, *(point.setting.draft_length + 1 for point in own)})
    sizes = [(batch, width) for batch in sorted({point.setting.batch for point in own}) for width in widths]
    times = api.dense_forward_times(pair, sizes, context)
    return [
        replace(
            point,
            plain=times[point.setting.batch, 1],
            verify=times[point.setting.batch, point.setting.draft_length + 1],
        )
        for point in own
    ]
