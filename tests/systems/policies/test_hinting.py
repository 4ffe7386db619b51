from collections.abc import Iterable, Sequence

from systems.policies.hinting import Hinting
from systems.policies.orders import Hint, Shape


class Cache:
    def __init__(self) -> None:
        self.ordered: list[tuple[int, list[int]]] = []
        self.planned: list[tuple[int, int]] = []
        self.residents: set[int] = set()

    def prefetch(self, layer: int, experts: Iterable[int]) -> int:
        self.ordered.append((layer, list(experts)))
        return len(self.ordered[-1][1])

    def absent(self, experts: Iterable[int]) -> list[int]:
        return [expert for expert in experts if expert not in self.residents]

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
    hinting.on_hint = lambda layer, named: told.append((layer, len(named)))
    assert hinting.prefetch(2, [1, 4]) == 2
    assert cache.ordered == [(2, [1, 4])]
    assert told == [(2, 2)]


def test_of_what_is_missing_only_so_many_are_ordered_also_by_the_control() -> None:
    """Residents are named beside them, so that they are spared."""
    cache = Cache()
    cache.residents = {16 + 1, 16 + 4}
    Hinting(cache, Shape(3, 8, 4)).prefetch(2, [1, 3, 4, 5], most=1)
    assert cache.ordered == [(2, [1, 3, 4])]
    control = Hinting(cache, Shape(3, 8, 4), shuffled=True)
    control.prefetch(2, range(8), most=3)
    renamed = cache.ordered[-1][1]
    assert len(cache.absent(16 + expert for expert in renamed)) == 3
    assert {1, 4} < set(renamed)
