"""MoE-SpeQ's buffer, phases and eviction on a hand-made draft: three tokens, two layers, four experts a layer."""

from collections.abc import Iterable, Sequence

import pytest

from systems.methods.moe_speq.lookahead import Lookahead, LookaheadBuffer, LookaheadScheduler, Phases, Schedule
from systems.policies.hinting import Hinting, Prefetcher
from systems.policies.orders import DEMAND, PREFETCH, Hint, Order, Shape

SHAPE = Shape(layers=2, experts=4, slots=4)
TOKENS = [
    [((0, 1), (0.6, 0.4)), ((2, 3), (0.9, 0.1))],
    [((1, 2), (0.7, 0.3)), ((2, 0), (0.5, 0.5))],
    [((3, 1), (0.8, 0.2)), ((1, 2), (0.6, 0.4))],
]
"""By token and layer: experts, and the router's weight of each."""


def test_the_buffer_orders_by_layer_then_confidence() -> None:
    """Of two tokens expert 1 of layer 0 has 0.4 and 0.7, expert 2 of layer 1 0.9 and 0.5."""
    buffer = LookaheadBuffer()
    assert [buffer.add(layer, *entry) for token in TOKENS[:2] for layer, entry in enumerate(token)] == [
        [0, 1],
        [2, 3],
        [2],
        [0],
    ], "named for the first time"
    assert buffer.named(0) == [1, 0, 2]
    assert [(hint.urgency, hint.layer, hint.expert) for hint in buffer.hints()] == [
        (layer, layer, expert) for layer, expert in [(0, 1), (0, 0), (0, 2), (1, 2), (1, 0), (1, 3)]
    ]
    buffer.clear()
    assert buffer.hints() == []


class Desk(Prefetcher):
    """Has some experts, gets none, and notes what is ordered: the experts, with their layers, call by call."""

    def __init__(self, present: Iterable[int] = ()) -> None:
        self.present, self.ordered = set(present), list[int]()
        self.orders: list[list[tuple[int, int]]] = []
        self.held: set[int] = set()

    def absent(self, experts: Iterable[int]) -> list[int]:
        return [expert for expert in experts if expert not in self.present]

    def prefetch(self, layer: int, experts: Sequence[int]) -> int:
        ids = [layer * SHAPE.experts + expert for expert in experts]
        new = [expert for expert in self.absent(ids) if expert not in self.ordered]
        self.held.update(ids)
        self.ordered += new
        self.orders.append([divmod(expert, SHAPE.experts) for expert in new])
        return len(new)

    def plan(self, fetch: Sequence[Hint], hold: Sequence[Hint] = ()) -> int:
        self.held = {hint.layer * SHAPE.experts + hint.expert for hint in (*fetch, *hold)}
        new = self.ordered = self.absent(hint.layer * SHAPE.experts + hint.expert for hint in fetch)
        self.orders.append([divmod(expert, SHAPE.experts) for expert in new])
        return len(new)


def draft(
    schedule: Schedule, transfer: float, present: Iterable[int] = (), tokens: int = 3
) -> tuple[list[list[tuple[int, int]]], Desk, LookaheadScheduler]:
    """Draft tokens of 1 s each; return what is ordered, call by call, who took the orders, and who gave them."""
    desk = Desk(present)
    scheduler = LookaheadScheduler(Phases(schedule, 1.0, transfer), Hinting(desk, SHAPE))
    scheduler.begin_step(tokens)
    for place, token in enumerate(TOKENS[:tokens], start=1):
        scheduler.begin_token()
        for layer, (experts, weights) in enumerate(token):
            scheduler.routed(layer, [experts], [weights])
        scheduler.end_token(place, tokens)
    return desk.orders, desk, scheduler


def test_each_layer_is_fetched_for_as_it_routes_within_what_the_link_carries() -> None:
    """A transfer takes half a token. The first token fetches the two that arrive while it is drafted, the second up to
    the six of all three tokens, the last one everything."""
    orders, _, scheduler = draft("three_phase", 0.5)
    assert orders[:2] == [[(0, 0), (0, 1)], []]
    assert orders[2:4] == [[(0, 2)], [(1, 2), (1, 0), (1, 3)]]
    assert orders[4:6] == [[(0, 3)], [(1, 1)]]
    assert scheduler.fresh == [4, 6, 8], "named by the first 1, 2, 3 tokens"


def test_a_slow_link_fetches_the_surest_and_with_the_last_token_the_rest() -> None:
    """It carries one per token. With the second token expert 1 of layer 0 is the surest, 1.1, with 2 of layer 1."""
    orders, _, _ = draft("three_phase", 1.0)
    assert orders[:4] == [[(0, 0)], [], [(0, 1)], [(1, 2)]]
    assert orders[4:6] == [[(0, 3), (0, 2)], [(1, 1), (1, 0), (1, 3)]]


def test_what_is_there_is_spared_and_not_fetched() -> None:
    orders, desk, scheduler = draft("three_phase", 0.5, present=[0, 1, 6])
    assert orders[:2] == [[], [(1, 3)]]
    assert desk.held == set(range(8)), "everything that was named"
    assert scheduler.fresh == [1, 3, 5]


def test_the_only_token_fetches_everything_as_it_routes() -> None:
    orders, _, _ = draft("three_phase", 9.0, tokens=1)
    assert orders[:2] == [[(0, 0), (0, 1)], [(1, 2), (1, 3)]]


def test_after_the_last_token_what_has_been_evicted_is_ordered_again() -> None:
    orders, _, _ = draft("three_phase", 0.5)
    assert sorted(orders[6]) == [(layer, expert) for layer in range(2) for expert in range(4)]


@pytest.mark.parametrize(("schedule", "fetched"), [("sooner", [4, 6, 8]), ("later", [0, 0, 8])])
def test_single_prefetch_fetches_after_tokens_all_that_is_named(schedule: Schedule, fetched: list[int]) -> None:
    orders, desk, _ = draft(schedule, 9.0)
    assert [len(order) for order in orders] == fetched, "whatever the link carries"
    assert len(desk.held) == 8


def test_what_is_not_named_goes_first_then_what_is_needed_latest() -> None:
    policy = Lookahead(experts=4)
    for expert in (5, 1, 6, 2):  # (1,1) (0,1) (1,2) (0,2)
        policy.admitted(expert)
    early = Order(PREFETCH, 0, 0.0, 3, 0)
    assert policy.victim(early, range(9), {5, 1, 6}) == 2
    assert policy.victim(early, range(9), {5, 1, 6, 2}) == 5, "of layer 1, the least recent"
    late = Order(PREFETCH, 1, 0.0, 7, 1)
    assert policy.victim(late, range(9), {5, 1, 6, 2}) is None, "nothing named is needed later than layer 1"
    assert policy.victim(Order(DEMAND, 1, 0.0, 7, 1), range(9), {5, 1, 6, 2}) == 5


def test_of_what_is_named_the_deepest_that_may_go_gives_way() -> None:
    policy = Lookahead(experts=4)
    named = (1, 5, 9)  # one of each layer
    for expert in named:
        policy.admitted(expert)
    demand = Order(DEMAND, 0, 0.0, 3, 0)
    assert policy.victim(demand, range(12), named) == 9
    assert policy.victim(demand, {1, 5}, named) == 5, "9 is being read"
    assert policy.victim(demand, set(), named) is None
