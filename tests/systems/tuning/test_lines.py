"""Fits and events: what they find, and what they refuse."""

import pytest

from systems.api import BadInput
from systems.tuning.events import EventGraph
from systems.tuning.lines import between, fit


def test_a_line_is_found_exactly_where_there_is_one() -> None:
    found = fit("operator", [(size, 0.5 + 0.25 * size) for size in (1, 4, 10)])
    assert found.base == pytest.approx(0.5)
    assert found.slope == pytest.approx(0.25)
    assert found(100) == pytest.approx(25.5)


def test_relative_errors_count_alike_at_every_size() -> None:
    """A tenth off at 1 s and a tenth off at 100 s: the large size does not decide alone."""
    found = fit("operator", [(1.0, 1.0), (1.0, 1.1), (100.0, 100.0), (100.0, 110.0)])
    assert found(1) == pytest.approx(1.05, rel=0.01)
    assert found(100) == pytest.approx(105, rel=0.01)


def test_no_line_starts_below_nothing() -> None:
    assert fit("operator", [(1.0, 0.1), (2.0, 2.0)]).base == 0.0


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([(1.0, 1.0)], "two sizes"),
        ([(2.0, 1.0), (2.0, 1.5)], "two sizes"),
        ([(1.0, 0.0), (2.0, 1.0)], "a time of 0.0 s"),
        ([(1.0, -1.0), (2.0, 1.0)], "a time of -1.0 s"),
        ([(1.0, float("nan")), (2.0, 1.0)], "a time of nan s"),
        ([(1.0, 2.0), (2.0, 1.0)], "do not grow"),
        ([(1.0, 1.0), (2.0, 1.0)], "do not grow"),
    ],
)
def test_fits_that_cannot_be_are_refused_by_name(points: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(BadInput, match="attention") as refused:
        fit("attention", points)
    assert message in str(refused.value)


def test_tables_are_read_between_their_sizes() -> None:
    table = {4: 8.0, 16: 12.0}
    assert between(table, 8) == pytest.approx(10.0)
    assert (between(table, 1), between(table, 4), between(table, 99)) == (8.0, 8.0, 12.0)


def test_a_lane_serves_one_event_at_a_time_and_lanes_run_side_by_side() -> None:
    graph = EventGraph()
    first, second, other = graph.add("a", 2.0), graph.add("a", 3.0), graph.add("b", 4.0)
    assert [graph.ends()[event] for event in (first, second, other)] == [2.0, 5.0, 4.0]
    assert (graph.busy("a"), graph.busy("b")) == (5.0, 4.0)


def test_an_event_waits_for_all_before_it() -> None:
    graph = EventGraph()
    slow, quick = graph.add("a", 5.0), graph.add("b", 1.0)
    both = graph.add("b", 1.0, slow, quick)
    assert graph.ends()[both] == 6.0


def test_what_is_ready_first_is_served_first() -> None:
    """The second micro-batch does not wait for a later event of the first one on the same lane."""
    graph = EventGraph()
    start, away = graph.add("device", 1.0), graph.add("host", 10.0)
    late = graph.add("device", 1.0, away)
    ready = graph.add("device", 1.0, start)
    assert [graph.ends()[event] for event in (late, ready)] == [11.0, 2.0]


def test_graphs_have_no_cycles_and_no_negative_times() -> None:
    graph = EventGraph()
    with pytest.raises(ValueError, match="not all there"):
        graph.add("a", 1.0, 0)
    with pytest.raises(ValueError, match="takes -1"):
        graph.add("a", -1.0)
