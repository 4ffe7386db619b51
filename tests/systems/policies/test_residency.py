import random
from collections import Counter

from systems.policies.orders import DEMAND, PREFETCH, Order, Shape
from systems.policies.residency import LayeredLru, Lru, StaticHot


def order(kind: int = DEMAND, layer: int = 0) -> Order:
    return Order(kind, layer, 0.0, 99, layer)


ANYTHING = range(100)


def test_the_victim_of_lru_is_the_least_recently_used_that_may_go() -> None:
    policy = Lru()
    for expert in (3, 1, 2):
        policy.admitted(expert)
    policy.used(3)
    assert policy.victim(order(), ANYTHING, set()) == 1
    assert policy.victim(order(), ANYTHING[2:], set()) == 2
    assert policy.victim(order(), (), set()) is None
    policy.evicted(1)
    assert policy.victim(order(), ANYTHING, set()) == 2


def test_what_is_hinted_goes_last_and_for_a_demand_only() -> None:
    policy = Lru()
    for expert in (3, 1):
        policy.admitted(expert)
    assert policy.victim(order(PREFETCH), ANYTHING, {3}) == 1
    assert policy.victim(order(PREFETCH), ANYTHING, {3, 1}) is None
    assert policy.victim(order(DEMAND), ANYTHING, {3, 1}) == 3


def test_layers_keep_their_slots_from_each_other() -> None:
    """Two layers of four experts, two slots each: layer 1 never takes layer 0's, however recent its needs."""
    policy = LayeredLru(Shape(layers=2, experts=4, slots=4))
    for expert in (0, 1, 4, 5):
        policy.admitted(expert)
    assert policy.victim(order(layer=1), ANYTHING, set()) == 4
    assert policy.victim(order(layer=0), ANYTHING, set()) == 0
    policy.used(0)
    assert policy.victim(order(layer=0), ANYTHING, set()) == 1


def test_a_layer_beyond_its_quota_gives_way_first() -> None:
    policy = LayeredLru(Shape(layers=2, experts=4, slots=4))
    policy.quotas = [1, 3]
    for expert in (0, 1, 4, 5):
        policy.admitted(expert)
    assert policy.victim(order(layer=1), ANYTHING, set()) == 0


def test_a_demand_takes_any_slot_when_its_layer_is_being_read() -> None:
    policy = LayeredLru(Shape(layers=2, experts=4, slots=2))
    policy.admitted(0)
    policy.admitted(4)
    assert policy.victim(order(DEMAND, layer=1), {*ANYTHING} - {4}, set()) == 0
    assert policy.victim(order(PREFETCH, layer=1), {*ANYTHING} - {4}, set()) is None


def test_popularity_is_counted_in_the_warm_up_and_then_fixed() -> None:
    policy = StaticHot(Shape(layers=2, experts=8, slots=2))
    policy.learn(True)
    policy.needed({7: 1, 9: 1})
    policy.needed({7: 1, 9: 1, 8: 1})
    policy.needed({7: 2})
    policy.learn(False)
    assert policy.favourites() == [7, 9]
    for expert in (7, 8, 9):
        policy.admitted(expert)
    policy.needed({8: 4})
    policy.used(8)
    assert policy.victim(order(), ANYTHING, set()) == 8
    assert policy.victim(order(), {*ANYTHING} - {8}, set()) == 9


def test_the_least_popular_is_that_of_a_ranking_of_all() -> None:
    """Of equally popular ones the least recent goes; another warm-up counts on."""
    rng, policy = random.Random(2), StaticHot(Shape(layers=2, experts=16, slots=12))
    counts, recency = Counter[int](), list[int]()
    for turn in range(1200):
        if turn % 300 in (0, 60):
            policy.learn(learning := turn % 300 == 0)
        needed = rng.sample(range(32), 3)
        policy.needed(dict.fromkeys(needed, 1))
        if learning:
            counts.update(needed)
        for expert in needed:
            if expert not in recency:
                policy.admitted(expert)
            else:
                recency.remove(expert)
                policy.used(expert)
            recency.append(expert)
        while len(recency) > 12:
            pinned = set(rng.sample(recency, 4))
            ranked = recency if learning else sorted(recency, key=counts.__getitem__)
            victim = policy.victim(order(), {*ANYTHING} - pinned, set())
            assert victim == next(expert for expert in ranked if expert not in pinned)
            policy.evicted(victim)
            recency.remove(victim)
