"""A generation as its rehearsal saw it: what each layer of each forward needs, and how long it computes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Need:
    """One layer's experts in one forward.

    Attributes:
        experts: distinct, ascending.
        rows: how many rows each of them computes.
        before: seconds from the end of the need before to this layer's routing, if nothing is waited for: half a layer,
            and drafting before the first layer of a forward.
        each: seconds that each of the experts takes.
    """

    layer: int
    experts: tuple[int, ...]
    rows: tuple[int, ...] = ()
    before: float = 0.0
    each: float = 0.0


class Course:
    """The needs of a generation in order, as expert ids.

    Args:
        experts: routed experts per layer.

    Attributes:
        ids: per need, the ids of its experts.
        routed: per need, when its layer has routed if nothing is ever waited for (s).
        longest: the longest time that passes between two routings so (s).
    """

    def __init__(self, needs: Sequence[Need], experts: int) -> None:
        self.needs, self.experts = needs, experts
        self.ids = [tuple([need.layer * experts + expert for expert in need.experts]) for need in needs]
        self.routed: list[float] = []
        self.longest = 0.0
        self._uses: dict[int, list[int]] = {}
        time = 0.0
        for place, need in enumerate(needs):
            time += need.before
            if self.routed:
                self.longest = max(self.longest, time - self.routed[-1])
            self.routed.append(time)
            time += need.each * len(need.experts)
            for expert in self.ids[place]:
                self._uses.setdefault(expert, []).append(place)

    def next_use(self, expert: int, after: int) -> float:
        """Index of the first need of an expert id from `after` on."""
        times = self._uses.get(expert)
        if times is None:
            return NEVER
        place = bisect_left(times, after)
        return times[place] if place < len(times) else NEVER

    def after(self, time: float, first: int) -> int:
        """Index of the first need from `first` on that has not routed before `time`."""
        return bisect_left(self.routed, time, first)
