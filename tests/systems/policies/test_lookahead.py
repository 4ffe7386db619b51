"""MoE-SpeQ's buffer, phases and eviction on a hand-made draft: three tokens, two layers, four experts a layer."""

from systems.policies.lookahead import Entry, Lookahead, LookaheadBuffer, ThreePhases
from systems.policies.orders import DEMAND, PREFETCH, Hint, Order

TOKENS = [
    [Entry(0, (0, 1), (0.6, 0.4)), Entry(1, (2, 3), (0.9, 0.1))],
    [Entry(0, (1, 2), (0.7, 0.3)), Entry(1, (2, 0), (0.5, 0.5))],
    [Entry(0, (3, 1), (0.8, 0.2)), Entry(1, (1, 2), (0.6, 0.4))],
]


def drafted(count: int) -> LookaheadBuffer:
    buffer = LookaheadBuffer()
    for token in TOKENS[:count]:
        buffer.start()
        for entry in token:
            buffer.add(entry)
    return buffer


def names(hints: list[Hint]) -> list[tuple[int, int]]:
    return [(hint.layer, hint.expert) for hint in hints]


def test_the_buffer_orders_by_layer_then_confidence() -> None:
    buffer = drafted(2)
    assert names(buffer.hints()) == [(0, 1), (0, 0), (0, 2), (1, 2), (1, 0), (1, 3)]
    buffer.clear()
    assert buffer.hints() == []


def test_the_first_token_primes_and_fetches_nothing() -> None:
    plan = ThreePhases("three_phase", 1.0, 0.5).after(drafted(1), 1, 3, {(0, 0), (1, 2)})
    assert names(plan.hold) == [(0, 0), (0, 1), (1, 2), (1, 3)]
    assert plan.fetch == []


def test_the_middle_fetches_the_surest_that_the_link_can_carry() -> None:
    """One token of 1 s is left and a transfer takes 0.5 s: two of the three missing; (0, 2) is least sure."""
    missing = {(0, 1), (0, 2), (1, 2)}
    plan = ThreePhases("three_phase", 1.0, 0.5).after(drafted(2), 2, 3, missing)
    assert names(plan.fetch) == [(0, 1), (1, 2)]
    assert names(ThreePhases("three_phase", 1.0, 2.0).after(drafted(2), 2, 3, missing).fetch) == []


def test_the_last_token_fetches_all_that_is_missing_in_order_of_layers() -> None:
    missing = {(1, 1), (0, 2), (0, 3)}
    plan = ThreePhases("three_phase", 1.0, 2.0).after(drafted(3), 3, 3, missing)
    assert names(plan.fetch) == [(0, 3), (0, 2), (1, 1)]


def test_single_prefetch_sooner_and_later() -> None:
    missing = {(0, 0)}
    assert names(ThreePhases("sooner", 1.0, 9.0).after(drafted(1), 1, 3, missing).fetch) == [(0, 0)]
    assert ThreePhases("later", 1.0, 0.1).after(drafted(2), 2, 3, missing).fetch == []
    assert names(ThreePhases("later", 1.0, 0.1).after(drafted(3), 3, 3, missing).fetch) == [(0, 0)]


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
