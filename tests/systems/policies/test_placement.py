import pytest

from systems.contract.costs import HostCosts
from systems.policies.placement import Lane, Placement
from systems.policies.plain_parts import CpuPart

FLAT = HostCosts(1.0)
"""A second per expert, however many rows."""
PER_ROW = HostCosts(0.0, 1.0)


def away(
    placement: Placement, absent: dict[int, int], flying: dict[int, float] | None = None, free: float = 0.0
) -> list[int]:
    return placement.elsewhere(absent, flying or {}, now=10.0, link_free=free)


def test_experts_with_few_rows_are_computed_where_they_lie() -> None:
    """1 s per row against 4 s per fetch; both sides run at once, the later one counts."""
    choose = Placement(PER_ROW, transfer=4.0)
    assert away(choose, {7: 1}) == [7]
    assert away(choose, {7: 5}) == []
    assert away(choose, {1: 1, 2: 2}) == [1, 2], "3 s there, against 4 s for one fetched"
    assert away(choose, {1: 2, 2: 2}) == [1], "4 s either way: the one that is fetched stays"
    assert away(choose, {1: 3, 2: 3}) == [1], "6 s for both there, 4 s with one fetched"
    assert away(choose, {}) == []


def test_a_read_serves_all_rows() -> None:
    """Five rows take a second, as one does: only the number of experts counts."""
    assert away(Placement(FLAT, transfer=4.0), {1: 5, 2: 1, 3: 9}) == [2, 1, 3]
    assert away(Placement(FLAT, transfer=1.5), {1: 5, 2: 1, 3: 9}) == [2, 1], "2 s there, 1.5 s for the third"


def test_nothing_goes_where_computing_is_slower_than_fetching() -> None:
    assert away(Placement(HostCosts(9.0), transfer=4.0), {1: 1, 2: 1}) == []


def test_what_is_on_its_way_is_waited_for_unless_the_host_has_it_sooner() -> None:
    choose = Placement(FLAT, transfer=4.0)
    assert away(choose, {1: 1}, flying={1: 10.5}) == []
    assert away(choose, {1: 1}, flying={1: 12.0}) == [1]
    assert away(choose, {1: 1, 2: 1}, flying={1: 11.5, 2: 13.0}) == [2], "the last to arrive first"
    assert away(choose, {1: 1, 2: 1}, flying={1: 11.0}) == [2], "who would cost a transfer goes before"


def test_a_busy_link_sends_more_to_the_host() -> None:
    choose = Placement(HostCosts(3.0), transfer=4.0)
    assert away(choose, {1: 1, 2: 1}) == [1], "3 s there, 4 s here"
    assert away(choose, {1: 1, 2: 1}, free=13.0) == [1, 2], "6 s there, 7 s here"


def test_fetching_takes_what_the_host_has_no_time_for() -> None:
    """Affine: the second row of an expert is free, the others take a second each."""
    host = HostCosts(base=2.0, row=1.0, free_rows=2.0)
    assert [host.at(rows) for rows in (1, 2, 3, 6)] == [2.0, 2.0, 3.0, 6.0]
    assert away(Placement(host, transfer=4.0), {1: 6, 2: 1}) == [2]


def test_costs_of_an_expert_follow_from_reading_and_products() -> None:
    host = HostCosts.of(read=7.0, row=1.0, fixed=0.5)
    assert (host.base, host.free_rows) == (7.5, 7.0)
    assert host.at(9) == pytest.approx(0.5 + 9.0)
    assert HostCosts.of(read=1.0, row=1.0, least=3.0).at(1) == 3.0, "never faster than the device"


def test_the_published_share_takes_the_place_of_the_named_host() -> None:
    assert CpuPart().costs(FLAT, 4.0) is FLAT
    assert CpuPart(token_share=0.1).costs(FLAT, 4.0).at(3) == pytest.approx(1.2)


def test_both_processors_are_done_at_once_where_the_host_may_take_what_is_in_fast_memory() -> None:
    """Six experts, 1.5 s each on the device, 2 s on the host: two there and four here are done in 6 s."""
    choose = Placement(HostCosts(2.0), transfer=40.0)
    lane = Lane(dict.fromkeys(range(6), 1), each=1.5)
    assert choose.elsewhere({}, {}, 10.0, 0.0, lane) == [0, 1], "4 s there, 6 s here; three would be 6 s and 4.5 s"
    assert choose.elsewhere({7: 1}, {}, 10.0, 0.0, lane) == [7, 0, 1], "6 s there, with what is missing, and 6 s here"
    assert choose.elsewhere({7: 1, 8: 1, 9: 1, 6: 1}, {}, 10.0, 0.0, lane) == [6, 7, 8, 9], "the host has enough"
    assert choose.elsewhere({7: 1}, {7: 19.0}, 10.0, 0.0, lane) == [7, 0, 1]
    assert choose.elsewhere({7: 1}, {7: 11.0}, 10.0, 0.0, lane) == [0, 1], "it is waited for"


def test_the_host_takes_those_with_fewest_rows() -> None:
    choose = Placement(HostCosts(base=2.0, row=1.0, free_rows=2.0), transfer=40.0)
    assert choose.elsewhere({}, {}, 10.0, 0.0, Lane({0: 9, 1: 2, 2: 1}, each=2.5)) == [2, 1]
    assert choose.elsewhere({}, {}, 10.0, 0.0, Lane({0: 9, 1: 2}, each=1.0)) == [], "2 s there, 2 s here"
