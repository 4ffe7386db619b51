"""Expert needs and transfers, as a system counts them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["prefill", "decode"]


@dataclass(slots=True)
class LayerNeeds:
    """Unique experts one layer needed in one forward, classified when the expert kernel would start.

    `needed` is counted by the router and the others as each need is met, so that
    `needed = resident + on_time + late + demand + elsewhere` is a check and not a tautology. A prefetch is `late` when
    its transfer had started and not ended; one that was still queued has moved nothing ahead: its expert is a
    `demand`, and one of the `overtaken` among these. Of the needs `foretold` are those of tokens that a draft had read,
    of all where nothing was drafted, and `covered` of these were named by a hint of the step, or had a slot when the
    router named them.
    """

    needed: int = 0
    resident: int = 0
    on_time: int = 0
    late: int = 0
    demand: int = 0
    elsewhere: int = 0
    foretold: int = 0
    covered: int = 0
    overtaken: int = 0

    # One is made per layer and step; the one that `dataclass` makes is slow where this module is compiled.
    def __init__(
        self,
        needed: int = 0,
        resident: int = 0,
        on_time: int = 0,
        late: int = 0,
        demand: int = 0,
        elsewhere: int = 0,
        foretold: int = 0,
        covered: int = 0,
        overtaken: int = 0,
    ) -> None:
        self.needed, self.resident, self.on_time = needed, resident, on_time
        self.late, self.demand, self.elsewhere = late, demand, elsewhere
        self.foretold, self.covered, self.overtaken = foretold, covered, overtaken


@dataclass(slots=True)
class Traffic:
    """Expert needs and transfers since the previous report of the same phase.

    Bytes satisfy `moved = demand + useful + late + wasted` once a generation has ended: a prefetch counts as
    wasted when it is evicted unused, or unused at the end of the generation that issued it. All that was `prefetched`
    (records) is then useful, late or wasted.
    `written_back_bytes` are those that go the other way, an expert for every eviction or none: they are no part of
    `moved`. `link_busy` is the time in seconds that the link spent moving both.
    """

    phase: Phase
    layers: list[LayerNeeds] = field(default_factory=list)
    moved_bytes: int = 0
    demand_bytes: int = 0
    useful_bytes: int = 0
    late_bytes: int = 0
    wasted_bytes: int = 0
    written_back_bytes: int = 0
    prefetched: int = 0
    cancelled: int = 0
    evictions: int = 0
    link_busy: float = 0.0

    @property
    def needed(self) -> int:
        """Needs of all layers."""
        return sum([layer.needed for layer in self.layers])

    @property
    def foretold(self) -> int:
        """Needs of tokens that a draft had read; see `LayerNeeds`."""
        return sum([layer.foretold for layer in self.layers])

    @property
    def covered(self) -> int:
        """Those of them that a hint of the step had named, or that had a slot."""
        return sum([layer.covered for layer in self.layers])

    @property
    def hits(self) -> int:
        """Needs that waited for no transfer, nor were computed elsewhere."""
        return sum([layer.resident + layer.on_time for layer in self.layers])


@dataclass(frozen=True, slots=True)
class Transfer:
    """One expert over the link, from `start` to `end` in seconds of the system's clock."""

    layer: int
    expert: int
    prefetch: bool
    start: float
    end: float
