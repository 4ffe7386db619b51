"""Streaming policies: what is named when, and who stays."""

from collections.abc import Iterable

from systems.methods.spec_moe_off.streaming import LayerStream, Streaming
from systems.policies.hinting import Hinting
from systems.policies.orders import DEMAND, PREFETCH, Order, Shape
from systems.policies.residency import Lru, Residency

SHAPE = Shape(layers=4, experts=4, slots=10)


class Cache:
    """Notes what is ordered; `resident` experts are there."""

    def __init__(self) -> None:
        self.resident: set[int] = set()
        self.orders: list[tuple[int, list[int]]] = []

    def prefetch(self, layer: int, experts: Iterable[int]) -> int:
        self.orders.append((layer, list(experts)))
        return len(self.orders[-1][1])

    def plan(self, fetch: object, hold: object) -> int:
        raise AssertionError("streams only add orders")

    def absent(self, experts: Iterable[int]) -> list[int]:
        return [expert for expert in experts if expert not in self.resident]


def stream(
    depth: int = 1, recent: int | None = None, carried: int = 99, between: int = 99
) -> tuple[LayerStream, Cache]:
    cache = Cache()
    listener = LayerStream(Hinting(cache, SHAPE), SHAPE, depth, recent, cache.absent, lambda tokens: carried, between)
    listener.begin(2)
    listener.reading(0, [3])
    return listener, cache


def forward(listener: LayerStream, needs: list[list[int]]) -> None:
    for layer, experts in enumerate(needs):
        listener.routed(layer, None, [[expert] for expert in experts])
    listener.end_step()


def test_the_next_layer_comes_whole_while_one_computes() -> None:
    listener, cache = stream()
    listener.routed(0, None, [[0]])
    assert cache.orders == [], "prompts stream past the slots"
    listener.decoding()
    forward(listener, [[0], [1], [2], [3]])
    assert cache.orders == [(layer, [0, 1, 2, 3]) for layer in (0, 1, 2, 3, 0)]


def test_with_a_memory_only_what_a_layer_needed_last_is_named() -> None:
    listener, cache = stream(recent=1)
    listener.decoding()
    forward(listener, [[0], [1, 2], [2], [3]])
    cache.orders.clear()
    forward(listener, [[1], [1], [1], [1]])
    assert cache.orders == [(1, [1, 2]), (2, [2]), (3, [3]), (0, [1])]
    listener.begin(1)
    listener.decoding()
    assert cache.orders[-1] == (0, [0, 1, 2, 3]), "another batch, of which nothing is known"


def test_a_longer_memory_is_a_union() -> None:
    listener, cache = stream(recent=2)
    listener.decoding()
    for experts in ([0], [1], [3]):
        forward(listener, [experts] * 4)
    assert cache.orders[-1] == (0, [1, 3])


def test_two_micro_batches_make_one_need() -> None:
    listener, cache = stream(recent=1)
    listener.decoding()
    listener.routed(0, None, [[0]])
    listener.routed(0, None, [[2]])
    listener.end_step()
    assert cache.orders[-1] == (0, [0, 2])


def test_no_more_is_named_than_the_link_carries_meanwhile() -> None:
    listener, cache = stream(depth=3, carried=3)
    cache.resident = {4, 5}  # experts 0 and 1 of layer 1 are there, and cost no room
    listener.routed(0, None, [[0]])
    listener.decoding()
    cache.orders.clear()
    listener.routed(0, None, [[0]])
    assert cache.orders == [(1, [0, 1, 2, 3]), (2, [0])]


def scan(residency: Residency, rounds: int, slots: int) -> float:
    """Share of needs that find their expert, when every layer needs all of its experts in turn."""
    resident: set[int] = set()
    hits = needs = 0
    for turn in range(rounds):
        for layer in range(SHAPE.layers):
            experts = range(layer * SHAPE.experts, (layer + 1) * SHAPE.experts)
            residency.needed(dict.fromkeys(experts, 1))
            for expert in experts:
                if turn > 1:
                    needs += 1
                    hits += expert in resident
                if expert not in resident:
                    if len(resident) == slots:
                        order = Order(DEMAND, layer, 0.0, expert, layer)
                        victim = residency.victim(order, resident - {*experts}, ())
                        assert victim is not None
                        residency.evicted(victim)
                        resident.remove(victim)
                    residency.admitted(expert)
                    resident.add(expert)
                residency.used(expert)
    return hits / needs


def test_where_lru_keeps_nothing_streaming_keeps_what_there_is_room_for() -> None:
    assert scan(Lru(), 8, SHAPE.slots) == 0.0
    assert scan(Streaming(SHAPE, visits=1), 8, SHAPE.slots) >= (SHAPE.slots - SHAPE.experts - 1) / 16


def test_a_layer_stays_until_its_last_micro_batch_has_read_it() -> None:
    prefetch = Order(PREFETCH, 1, 0.0, 4, 1)
    policy = Streaming(SHAPE, visits=2)
    for expert in (0, 1, 4):
        policy.admitted(expert)
    policy.needed({0: 1, 1: 1})
    assert policy.victim(prefetch, (0, 1), ()) is None
    policy.needed({0: 1, 1: 1})
    assert policy.victim(prefetch, (0, 1), ()) == 0


def test_what_a_layer_left_out_goes_first_and_hinted_experts_stay() -> None:
    policy = Streaming(SHAPE, visits=1)
    for expert in (4, 5, 8):
        policy.admitted(expert)
    for needs in ({4: 1}, {8: 1}, {12: 1}, {0: 1}):
        policy.needed(needs)
    demand = Order(DEMAND, 0, 0.0, 1, 0)
    assert policy.victim(demand, range(99), ()) == 5
    assert policy.victim(demand, range(99), {5}) == 8
