"""Clocks around the parts of a forward."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor

from systems.cache.clock import WallClock
from systems.methods.spec_moe_off.split_decoder import MicroBatches
from systems.modeling.experts import Arithmetic, Mixer

ROUNDS = 9
"""How often each forward is timed, each time at other positions; medians count."""


class Stopwatch(MicroBatches):
    """A forward in one part, the time of its attention apart."""

    def __init__(self, model: Any, rows: int, capacity: int) -> None:
        super().__init__(model, rows, capacity, parts=1, clock=WallClock())
        self.attention = 0.0

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """Attend, and note how long it took."""
        start = time.perf_counter()
        found = super().attend(query, keys, values, scale)
        self.attention += time.perf_counter() - start
        return found


class Tap:
    """A mixer that notes how long another takes, and how many experts it is asked for."""

    def __init__(self, mixer: Mixer) -> None:
        self._mixer = mixer
        self.seconds, self.experts = 0.0, 0

    def __call__(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Mix as the other does."""
        start = time.perf_counter()
        mixed = self._mixer(layer, hidden, chosen, weights, arithmetic)
        self.seconds += time.perf_counter() - start
        self.experts += len(chosen.unique())
        return mixed


def median_time(action: Callable[[int], object]) -> float:
    """Return the median time (s) of an action that is told its turn."""
    times = []
    for turn in range(ROUNDS + 1):
        start = time.perf_counter()
        action(turn)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
