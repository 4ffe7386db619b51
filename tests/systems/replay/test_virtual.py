"""On a virtual clock every system does the same every time, and still emits the target's own tokens."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from systems.api import LinkSpec, Request, build_system
from systems.cache.clock import VirtualClock
from systems.runtime.pair import Pair
from tests.systems.test_exactness import Checked, copies, plain, reference  # noqa: F401
from tests.systems.tiny import COSTS, LOSSLESS, SYSTEMS, requests

VIRTUAL = LinkSpec(bandwidth=20e6, latency=2e-5, virtual=True)


def counts(name: str, pair: Pair, batch: Sequence[Request], slots: int = 9) -> tuple[Checked, list[Any], int]:
    """Tokens, all traffic reports, and how far the clock moved."""
    config = SYSTEMS[name]
    system = build_system(config, pair, copies(config, pair) + slots * pair.record_bytes, VIRTUAL, COSTS)
    meter = Checked([r.max_new_tokens for r in batch])
    system.calibrate(requests(2, 8, seed=77))
    system.rehearse(batch)
    start = system.now_ns()
    system.generate(batch, meter)
    ended = system.now_ns()
    system.close()
    return meter, [dataclasses.asdict(report) for report in meter.reports], ended - start


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", LOSSLESS)
def test_two_runs_are_equal_in_every_count_and_time(
    name: str,
    batch: int,
    pair: Pair,
    reference: Any,  # noqa: F811
) -> None:
    group = [dataclasses.replace(r, max_new_tokens=16 - 3 * i) for i, r in enumerate(requests(batch, seed=batch))]
    first, reports, time = counts(name, pair, group)
    again, same, duration = counts(name, pair, group)
    assert (reports, time) == (same, duration)
    assert first.tokens == again.tokens == [plain(reference, request) for request in group]


def test_time_is_what_the_table_and_the_link_say(pair: Pair) -> None:
    """One token without a cache: four layers of half a millisecond, two transfers each that are waited for, and the
    last expert's quarter; the first one's passes while the other travels."""
    _, _, short = counts("no_cache", pair, requests(1, 5))
    _, _, long = counts("no_cache", pair, requests(1, 6))
    transfer = VIRTUAL.latency + pair.record_bytes / VIRTUAL.bandwidth
    assert (long - short) / 1e9 == pytest.approx(4 * (0.75e-3 + 2 * transfer), rel=1e-3)


def test_a_stopped_clock_counts_no_computing() -> None:
    clock = VirtualClock()
    with clock.stopped():
        clock.spend(1.0)
    clock.spend(2.0)
    assert clock.now() == 2.0
