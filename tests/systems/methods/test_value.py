import pytest

from systems.contract.errors import BadInput
from systems.methods.arbiter.value import Value, ValueOptions
from systems.policies.orders import DEMAND, PREFETCH, Order, Shape

ALL = range(100)
"""Anybody may go."""


def cache(*residents: int, decay: float = 0.5, prior: bool = True, slots: int = 3) -> Value:
    value = Value(Shape(layers=2, experts=4, slots=slots), decay, prior)
    for expert in residents:
        value.admitted(expert)
    return value


def order(kind: int = PREFETCH, expert: int = 7) -> Order:
    return Order(kind, 0.0, 0.0, expert, expert // 4)


def use(value: Value, *forwards: tuple[list[int], list[int]]) -> None:
    """Forwards of two layers, the experts of each."""
    for first, second in forwards:
        value.needed(dict.fromkeys(first, 1))
        value.needed(dict.fromkeys(second, 1))


def test_the_chance_of_a_use_halves_with_every_forward_without_one() -> None:
    value = cache()
    use(value, ([0], [4]), ([1], [4]), ([1], [5]))
    assert [value.chance(expert) for expert in (0, 1, 2)] == [0.125, 0.75, 0.0]
    assert [value.chance(expert) for expert in (4, 5)] == [0.375, 0.5], "the second layer is of the same forward"


def test_whoever_is_least_likely_to_be_used_goes() -> None:
    """Two uses weigh 1/8 + 1/4 of one now, the later single ones 1/2 and 1: age counts, and so does frequency."""
    value = cache(0, 1, 2)
    use(value, ([0], [4]), ([0], [4]), ([1], [4]), ([2], [4]))
    assert value.victim(order(), ALL, ()) == 0  # type: ignore[arg-type]
    assert value.victim(order(), [1, 2], ()) == 1, "0 is read"  # type: ignore[arg-type]
    slow = cache(0, 1, 2, decay=0.9)
    use(slow, ([0], [4]), ([0], [4]), ([1], [4]), ([2], [4]))
    assert slow.victim(order(), ALL, ()) == 1, "where old uses weigh more, two beat a later one"  # type: ignore[arg-type]


def test_a_hint_protects_but_not_from_a_demand() -> None:
    value = cache(0, 1)
    use(value, ([1], [4]))
    assert value.victim(order(), ALL, {0}) == 1  # type: ignore[arg-type]
    assert value.victim(order(), ALL, {0, 1}) is None  # type: ignore[arg-type]
    assert value.victim(order(DEMAND), ALL, {0, 1}) == 0  # type: ignore[arg-type]


def test_the_absent_expert_of_most_value_is_known() -> None:
    value = cache(0)
    assert value.most(lambda expert: False) is None, "nobody was ever used"
    use(value, ([0, 1], [4]), ([0, 2], [4]))
    assert value.most(lambda expert: False) == 4
    value.admitted(4)
    assert value.most(lambda expert: False) == 2
    assert value.most(lambda expert: expert == 2) == 1
    value.evicted(0)
    assert value.most(lambda expert: False) == 0
    assert value.least(lambda expert: False) == 4


def test_the_warm_up_is_where_a_generation_starts_from() -> None:
    value = cache(decay=0.5, slots=2)
    value.learn(True)
    use(value, ([0], [4]), ([0], [5]), ([0], [5]), ([1], [5]))
    assert value.favourites() == [], "while it is learned nobody is a favourite"
    value.learn(False)
    assert [value.chance(expert) for expert in (0, 1, 4, 5)] == [0.75, 0.25, 0.25, 0.75]
    assert sorted(value.favourites()) == [0, 5]
    use(value, ([1], [5]))
    assert value.chance(0) == 0.375
    assert cache(prior=False).favourites() == []


def test_scores_stay_finite() -> None:
    value = cache(0, 1, 2, decay=0.01)
    for _ in range(400):
        use(value, ([0, 1], [4]), ([0], [4]))
    assert value.chance(0) == pytest.approx(1.0)
    assert value.least(lambda expert: False) == 2
    assert value.most(lambda expert: False) == 4


def test_a_decay_is_a_share() -> None:
    for decay in (0.0, 1.0):
        with pytest.raises(BadInput, match=r"residency\.decay"):
            ValueOptions(decay)
