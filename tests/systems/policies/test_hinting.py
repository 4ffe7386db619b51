from collections.abc import Iterable, Sequence

from systems.policies.hinting import Hinting
from systems.policies.orders import Hint, Shape


class Cache:
    def __init__(self) -> None:
        self.ordered: list[tuple[int, list[int]]] = []
        self.planned: list[tuple[int, int]] = []

    def prefetch(self, layer: int, experts: Iterable[int]) -> int:
        self.ordered.append((layer, list(experts)))
        return len(self.ordered[-1][1])

    def plan(self, fetch: Sequence[Hint], hold: Sequence[Hint]) -> int:
        self.planned += [(hint.layer, hint.expert) for hint in [*fetch, *hold]]
        return 0


def test_the_control_renames_every_expert_of_every_layer_and_keeps_the_number() -> None:
    cache = Cache()
    hinting = Hinting(cache, Shape(3, 8, 4), shuffled=True)
    for layer in range(3):
        hinting.prefetch(layer, range(8))
        assert sorted(cache.ordered[-1][1]) == list(range(8))
        assert all(expert != name for expert, name in enumerate(cache.ordered[-1][1]))
    hinting.plan([Hint(0, 1, 5)], [Hint(0, 2, 5)])
    assert cache.planned == [(1, cache.ordered[1][1][5]), (2, cache.ordered[2][1][5])]


def test_without_it_hints_pass_and_orders_are_told() -> None:
    cache, told = Cache(), []
    hinting = Hinting(cache, Shape(3, 8, 4))
    hinting.on_order = lambda layer, count: told.append((layer, count))
    assert hinting.prefetch(2, [1, 4]) == 2
    assert cache.ordered == [(2, [1, 4])]
    assert told == [(2, 2)]
