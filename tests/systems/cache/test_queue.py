import gc

from systems.cache.queue import TransferQueue
from systems.policies.orders import DEMAND, PREFETCH, Order


def prefetch(expert: int, need: int = 0, asked: float = 0.0) -> Order:
    return Order(PREFETCH, need, asked, expert, need)


def filled(*orders: Order) -> TransferQueue:
    queue = TransferQueue()
    for order in orders:
        queue.push(order)
    return queue


def drained(queue: TransferQueue) -> list[int]:
    experts = []
    while taken := queue.take(1, anyone):
        experts.append(taken[0].expert)
    return experts


def alive() -> int:
    """Orders that anybody knows, those of other tests too."""
    return sum(type(item) is Order for item in gc.get_objects())


def anyone(order: Order) -> bool:
    return True


def test_demand_overtakes_prefetch_and_prefetch_goes_by_need() -> None:
    queue = filled(prefetch(30, need=3), prefetch(10, need=1), Order(DEMAND, 5, 9.0, 50, 5))
    assert drained(queue) == [50, 10, 30]


def test_an_order_is_upgraded_once_and_never_downgraded() -> None:
    queue = filled(prefetch(1, need=0), prefetch(2, need=4))
    queue.push(Order(DEMAND, 4, 1.0, 2, 4))
    queue.push(prefetch(2, need=0))
    (first,) = queue.take(4, anyone)
    assert (first.expert, first.kind, first.asked) == (2, DEMAND, 1.0), "a demand travels alone"
    assert drained(queue) == [1]


def test_a_prefetch_that_is_asked_for_again_goes_by_what_was_said_last() -> None:
    queue = filled(prefetch(1, need=0), prefetch(2, need=1), prefetch(3, need=2))
    queue.push(prefetch(1, need=5, asked=1.0))
    queue.cancel(3)
    queue.push(prefetch(3, need=2))
    assert drained(queue) == [2, 3, 1]


def test_cancelled_orders_never_come_up() -> None:
    queue = filled(prefetch(1), prefetch(2))
    queue.cancel(1)
    assert 1 not in queue.pending
    assert len(queue.pending) == 1
    assert drained(queue) == [2]


def test_orders_that_never_came_up_are_forgotten_once_nothing_is_wanted() -> None:
    gc.collect()
    before = alive()
    queue = filled(*(prefetch(expert, need=expert) for expert in range(50)))
    for expert in reversed(range(50)):
        queue.cancel(expert)
    assert alive() == before


def test_of_prefetches_as_urgent_the_older_goes_first_and_then_the_lower() -> None:
    queue = filled(prefetch(7, asked=2.0), prefetch(5, asked=1.0), prefetch(9, asked=1.0), prefetch(1, need=1))
    queue.push(prefetch(6, asked=1.0))
    assert drained(queue) == [5, 6, 9, 7, 1]


def test_prefetches_share_a_call_in_the_order_in_which_they_travel() -> None:
    queue = filled(prefetch(5, asked=0.0), prefetch(4, asked=1.0), prefetch(8, need=2), prefetch(7, need=1))
    assert [order.expert for order in queue.take(3, anyone)] == [5, 4, 7]
    assert drained(queue) == [8]


def test_what_is_refused_stays_and_lets_other_layers_pass() -> None:
    asked: list[int] = []

    def no_room_in_layer_0(order: Order) -> bool:
        asked.append(order.expert)
        return order.layer > 0

    queue = filled(prefetch(1), prefetch(2), prefetch(5, need=1), prefetch(6, need=1))
    assert [order.expert for order in queue.take(1, no_room_in_layer_0)] == [5]
    assert asked == [1, 5], "2 would take the slot that 1 waits for"
    assert [order.expert for order in queue.take(4, no_room_in_layer_0)] == [6]
    assert queue.take(4, no_room_in_layer_0) == []
    assert drained(queue) == [1, 2]


def test_a_demand_without_a_slot_holds_everybody_up() -> None:
    queue = filled(prefetch(1), Order(DEMAND, 5, 0.0, 9, 5))
    assert queue.take(4, lambda order: order.kind == PREFETCH) == []
    assert drained(queue) == [9, 1]


def test_a_plan_takes_the_place_of_all_prefetches_and_of_no_demand() -> None:
    queue = filled(prefetch(1), prefetch(2), prefetch(3, need=3), Order(DEMAND, 5, 0.0, 9, 5))
    plan = {order.expert: order for order in (prefetch(3, need=7, asked=2.0), prefetch(4, need=6), prefetch(9, need=0))}
    assert queue.replan(plan) == ([4], 2), "4 is new, 1 and 2 are withdrawn"
    assert queue.prefetches() == [3, 4]
    assert queue.prefetches(layer=7) == [3]
    assert drained(queue) == [9, 4, 3]
    assert queue.prefetches() == []


def test_what_plans_have_replaced_is_forgotten() -> None:
    gc.collect()
    before, queue = alive(), TransferQueue()
    for asked in range(20):
        queue.replan({expert: prefetch(expert, asked=float(asked)) for expert in range(3)})
    assert alive() - before == 3
