"""The ten parameters from a small stratified subset of measurements, by bounded least squares (MoESD, algorithm 1).

The paper fits the speedup alone, which leaves open how it divides among draft and target. Each point here also says its
target efficiency, and both are fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.studies.moesd.speedup import Numbers, Parameters, Setting, speedup, target_efficiency


@dataclass(frozen=True, slots=True)
class Point:
    """A measurement at one setting; times in seconds.

    Attributes:
        plain: a step of plain decoding; `verify`, `draft` and `rest` of a cycle: all drafted tokens together.
        tokens_per_cycle: of each request, the bonus token included.
    """

    setting: Setting
    plain: float
    verify: float
    draft: float
    rest: float
    tokens_per_cycle: float

    @property
    def speedup(self) -> float:
        """Tokens per second / those of plain decoding."""
        return self.tokens_per_cycle * self.plain / (self.verify + self.draft + self.rest)

    @property
    def target_efficiency(self) -> float:
        """`T_T(B, 1) / T_T(B, gamma)`."""
        return self.plain / self.verify


@dataclass(frozen=True, slots=True)
class Floors:
    """Least times that memory allows (s): of all weights but experts, of one expert, of the draft.

    Each lies between its floor and five times it, as in the paper; `launch` is added to the upper bounds of the
    biases: the time of a forward that computes next to nothing, which a processor spends on starting operators.
    """

    dense: float
    expert: float
    draft: float
    launch: float
    draft_launch: float


def stratified(points: Sequence[Point], stride: int) -> list[Point]:
    """Return every `stride`-th point, sorted by experts per token, draft length and batch."""
    return sorted(points, key=_order)[::stride]


def fit(points: Sequence[Point], floors: Floors, ridge_point: float, starts: int, seed: int) -> Parameters:
    """Return the parameters with the least squared error of both ratios, the best of several random starts.

    Raises:
        ValueError: fewer points than parameters.
    """
    from scipy.optimize import least_squares

    low, high = _bounds(points, floors)
    if len(points) < len(low):
        raise ValueError(f"{len(points)} points cannot fix {len(low)} parameters; lower `stride` or measure more")
    random = np.random.default_rng(seed)

    def residuals(values: Numbers) -> Numbers:
        found = Parameters.of(values)
        gains = [speedup(found, p.setting, p.tokens_per_cycle, ridge_point) - p.speedup for p in points]
        efficiencies = [target_efficiency(found, p.setting, ridge_point) - p.target_efficiency for p in points]
        return np.array([*gains, *efficiencies], dtype=np.float64)

    best = None
    for _ in range(starts):
        start = low + (high - low) * random.uniform(0.02, 0.5, len(low))
        start[-1] = 1 + 10 ** random.uniform(-3, -1)  # its range is that of an exponent's base
        found = least_squares(residuals, start, bounds=(low, high), method="trf", x_scale=np.maximum(high - low, 1e-12))
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    return Parameters.of(best.x)


def mean_absolute_error(points: Sequence[Point], found: Parameters, ridge_point: float) -> float:
    """Of the speedup."""
    errors = [speedup(found, p.setting, p.tokens_per_cycle, ridge_point) - p.speedup for p in points]
    return float(np.mean(np.abs(errors)))


def _bounds(points: Sequence[Point], floors: Floors) -> tuple[Numbers, Numbers]:
    """The paper's; slopes, which it leaves open above, are below the longest time measured."""
    longest = max(point.verify for point in points)
    drafting = max(point.draft / point.setting.draft_length for point in points)
    rest = max(point.rest for point in points)
    low = Parameters(floors.dense, 0.0, floors.expert, 0.0, floors.draft, 0.0, 0.0, 0.0, 0.2, 1.0 + 1e-9)
    high = Parameters(
        5 * floors.dense + floors.launch, longest, 5 * floors.expert + floors.launch, longest,
        5 * floors.draft + floors.draft_launch, drafting, rest, rest, 1.0, 2.0,
    )  # fmt: skip
    return low.vector(), high.vector()


def _order(point: Point) -> tuple[int, int, int]:
    return point.setting.top_k, point.setting.draft_length, point.setting.batch
