"""The processor beside slow memory, in numbers: what one expert takes where it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

from systems.api import BadInput, HostCosts


@dataclass(frozen=True, slots=True)
class HostShape:
    """A host: `bandwidth` of its memory in bytes/s, `compute` in FLOP/s of 16-bit products on its processors.

    Raises:
        BadInput: a number that is not positive and finite.
    """

    name: str
    source: str
    bandwidth: float
    compute: float

    def __post_init__(self) -> None:
        for name in ("bandwidth", "compute"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise BadInput(f"`host.{name}` is {value}; a positive number is needed")

    def costs(self, expert_bytes: int, crossing: float, least: float) -> HostCosts:
        """What an expert with 16-bit weights takes: it is read once however many rows it meets.

        Args:
            crossing: fixed part (s) of moving anything over the link; rows go to the host and come back.
            least: what the expert takes on the device, resident (s).
        """
        operations = expert_bytes  # per row: two for each weight of two bytes
        return HostCosts.of(expert_bytes / self.bandwidth, operations / self.compute, 2 * crossing, least)
