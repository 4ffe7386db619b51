"""Background admission: what a layer has missed moves in while the link is idle, and nobody waits for it."""

import dataclasses
from typing import Any

import pytest

from systems.api import BadInput
from systems.methods.arbiter.admission import by_rows
from tests.systems.handmade import COSTS, replay, trace
from tests.systems.tiny import SYSTEMS

CPU_LRU = SYSTEMS["cpu_lru"]


def plain(*experts: Any) -> list[Any]:
    """One layer, no drafts: an expert, or several, per step."""
    return [[[[expert] if isinstance(expert, int) else list(expert)]] for expert in experts]


def test_misses_are_computed_in_place_and_admitted_while_the_link_is_idle() -> None:
    """Two slots. A step takes 1.5 s with its expert computed by the host and 2 s with a resident one; a copy takes 3 s.

    Step 1 starts expert 0's copy at 1.0, so that step 2 (at 2.5) admits nobody; at 4.0 step 3 finds 0 there. Step 4
    starts expert 1's at 6.0; step 6 (at 9.0) starts 2's, for which 0, used at 4.0, gives way, not 1, admitted at 6.0.
    """
    meter, system = replay(CPU_LRU, trace(plain(0, 1, 0, 1, 2, 2, 1, 2, 0)), slots=2)
    assert meter.of("elsewhere") == [1, 1, 0, 1, 1, 1, 0, 0, 1]
    assert meter.of("on_time") == [0, 0, 1, 0, 0, 0, 1, 1, 0]
    assert meter.of("prefetched") == [1, 0, 0, 1, 0, 1, 0, 0, 1]
    assert meter.of("cancelled") == [0] * 9, "a busy link is asked for nothing"
    assert meter.of("evictions") == [0, 0, 0, 0, 0, 1, 0, 0, 1]
    assert meter.of("demand") == meter.of("late") == [0] * 9, "nobody waits"
    assert set(system.cache.slots.residents) == {0, 2}, "1 was used at 10.5, 2 at 12.5"


@pytest.mark.parametrize("most", [1, 2, 3])
def test_so_many_are_admitted_per_layer(most: int) -> None:
    """Three experts are missed in either layer. The second asks a minute after the first, when all copies of that are
    there; its own first one starts before the step ends, and withdraws the others."""
    config = dataclasses.replace(CPU_LRU, prefetch={**CPU_LRU.prefetch, "most": most})
    slow = dataclasses.replace(COSTS, target_layer={1: 120.0})
    meter, _ = replay(config, trace([[[[0, 1, 2], [5, 6, 7]]]] * 2, experts=8), slots=8, costs=slow)
    assert meter.of("prefetched")[0] == most + 1
    assert meter.of("cancelled")[0] == most - 1


def test_experts_with_most_rows_come_first() -> None:
    assert by_rows([[3, 1], [2, 1], [2, 5], [1, 7]]) == [1, 2, 3, 5, 7]


def test_what_is_fetched_on_demand_is_not_admitted() -> None:
    """Without the host it would do nothing, and says so."""
    config = dataclasses.replace(CPU_LRU, placement={"part": "none"})
    with pytest.raises(BadInput, match=r"set placement\.part=cpu"):
        replay(config, trace(plain(0, 1)), slots=2)
