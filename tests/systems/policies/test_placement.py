from systems.policies.placement import Placement


def test_experts_with_few_tokens_are_computed_where_they_lie() -> None:
    """1 s per token against 4 s per fetch; both sides run at once, the later one counts."""
    choose = Placement(remote_token=1.0, transfer=4.0).elsewhere
    assert choose({7: 1}) == [7]
    assert choose({7: 5}) == []
    assert choose({1: 1, 2: 2}) == [1, 2], "3 s there, against 4 s for one fetched"
    assert choose({1: 2, 2: 2}) == [1], "4 s either way: the one that is fetched stays"
    assert choose({1: 3, 2: 3}) == [1], "6 s for both there, 4 s with one fetched"
    assert choose({}) == []


def test_nothing_goes_where_computing_is_slower_than_fetching() -> None:
    assert Placement(remote_token=9.0, transfer=4.0).elsewhere({1: 1, 2: 1}) == []
