"""A target whose experts are all in fast memory: what micro-benchmarks compute with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from systems.contract.config import SystemConfig
from systems.contract.costs import Costs, LinkSpec
from systems.runtime.experts import CachedExperts, Mixer
from systems.runtime.pair import Pair


@contextmanager
def resident_experts(pair: Pair) -> Iterator[Mixer]:
    """While active, all experts of the target are in fast memory; yield what computes them."""
    from systems.build import build

    nothing = Costs({1: 0.0}, {1: 0.0}, 0.0, 0.0)
    # Read where all systems of an emulated link read them.
    link = LinkSpec(float("inf"), 0.0) if pair.device == "cpu" else None
    system = build(SystemConfig("resident", "", residency={"part": "all"}), pair, 0, link, nothing)
    try:
        yield CachedExperts(system.cache)  # type: ignore[attr-defined]
    finally:
        system.close()
