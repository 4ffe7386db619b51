import pytest

from systems.contract.errors import BadInput
from systems.methods.arbiter.part import ValuePart
from systems.methods.arbiter.value import Counts, Value
from systems.policies.orders import DEMAND, PREFETCH, Order, Shape

ALL = range(100)
"""Anybody may go."""


def cache(*residents: int, decay: float = 0.5, prior: bool = True, slots: int = 3) -> Value:
    value = Value(Shape(layers=2, experts=4, slots=slots), (decay,), prior)
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


def test_a_use_weighs_half_as_much_after_every_forward() -> None:
    value = cache()
    use(value, ([0], [4]), ([1], [4]), ([1], [5]))
    assert [value.chance(expert) for expert in (0, 1, 2)] == [1 / 7, 6 / 7, 0.0], "forwards weigh 1, 2 and 4"
    assert [value.chance(expert) for expert in (4, 5)] == [3 / 7, 4 / 7], "the second layer is of the same forward"


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
    assert value.chance(0) == pytest.approx(0.75 * 15 / 31), "what it was, less the weight of one forward"
    assert cache(prior=False).favourites() == []


def test_scores_stay_finite() -> None:
    value = cache(0, 1, 2, decay=0.01)
    for _ in range(400):
        use(value, ([0, 1], [4]), ([0], [4]))
    assert value.chance(0) == pytest.approx(1.0)
    assert value.least(lambda expert: False) == 2
    assert value.most(lambda expert: False) == 4


def test_a_decay_is_a_share() -> None:
    for decay in (0.0, 1.0, "often"):
        with pytest.raises(BadInput, match=r"residency\.decay"):
            ValuePart(decay)  # type: ignore[arg-type]


def test_the_decay_is_the_one_that_foretells_the_warm_up_best() -> None:
    """Two experts take turns in long runs: what was used last will be. Or each second token: all are as likely."""
    runs = ([0] * 20 + [1] * 20) * 3
    turns = [0, 1] * 60
    for uses, decay in ((runs, 0.5), (turns, 0.99)):
        value = Value(Shape(layers=1, experts=2, slots=1), (0.5, 0.9, 0.99), prior=True)
        value.learn(True)
        for expert in uses:
            value.needed({expert: 1})
        value.learn(False)
        assert value.decay == decay


def test_brier_scores_are_those_of_the_chances() -> None:
    """Two experts, 0, 1 and 0 are used: behind the first, 0 is taken to be sure, then forwards weigh 1 and 2."""
    counts = Counts(Shape(layers=1, experts=2, slots=1), 0.5)
    for expert in (0, 1, 0):
        counts.age()
        counts.score(0, [expert])
        counts.count(0, [expert])
    said = [(1.0, 0.0), (1 / 3, 2 / 3)]
    came = [(0, 1), (1, 0)]
    whole = sum((p - u) ** 2 for ps, us in zip(said, came, strict=True) for p, u in zip(ps, us, strict=True))
    assert counts.error + 2 == pytest.approx(whole), "one use in each forward is the same for all decays"
