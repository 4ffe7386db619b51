"""MoE-Infinity's policies on hand-made matrices: two layers ahead, three experts a layer, one expert a token."""

import random
from collections.abc import Sequence

import numpy as np
import pytest

from systems.methods.moe_infinity.activation import EPSILON, ActivationAware, ActivationMatrices, IdleLink
from systems.methods.moe_infinity.matching import ActivationMatching
from systems.methods.moe_infinity.traces import CAPACITY, DISTANCE, MATCHES, Likeness, Traces, representatives
from systems.policies.hinting import Hinting, Prefetcher
from systems.policies.orders import DEMAND, PREFETCH, Hint, Order, Shape

SHAPE = Shape(layers=3, experts=3, slots=4)


def matrix(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, dtype=float)


LEFT = matrix((4, 0, 0), (3, 1, 0), (0, 0, 4))
RIGHT = matrix((0, 0, 4), (0, 0, 4), (4, 0, 0))
NOBODY = matrix((0, 0, 0), (0, 0, 0), (0, 0, 0))


def stored(*counts: np.ndarray, matches: int = 1, distance: float = DISTANCE) -> Traces:
    traces = Traces(SHAPE, matches=matches, distance=distance)
    for one in counts:
        traces.add(one)
    return traces


def trained(*counts: np.ndarray, matches: int = 1, distance: float = DISTANCE) -> ActivationMatrices:
    return ActivationMatrices(SHAPE, 1, stored(*counts, matches=matches, distance=distance))


def like(traces: Traces, seen: np.ndarray) -> tuple[int, ...]:
    likeness = Likeness(traces, seen)
    for layer in range(len(seen)):
        likeness.counted(layer)
    return likeness.nearest()


def test_the_nearest_matrix_has_the_largest_mean_cosine_over_the_layers_seen() -> None:
    """Whatever the lengths: RIGHT agrees with the only layer seen. And layers count alike: the many tokens of layer 1
    do not outvote layers 0 and 2, as they would in one cosine over the whole matrix (0.02 against 0.89)."""
    assert like(stored(LEFT, RIGHT), matrix((0, 0, 1), (0, 0, 0), (0, 0, 0))) == (1,)
    two_layers = matrix((100, 0, 0), (0, 1, 0), (0, 0, 1))
    one_layer = matrix((0, 100, 0), (200, 0, 0), (1, 0, 0))
    assert like(stored(one_layer, two_layers), matrix((1, 0, 0), (50, 0, 0), (0, 0, 1))) == (1,)
    assert like(stored(), LEFT) == ()
    assert like(stored(LEFT), NOBODY) == ()


def test_what_is_too_far_is_no_match() -> None:
    """Cosines with LEFT: 1, and 3 / sqrt(10) = 0.949: distance 0.026."""
    seen = matrix((1, 0, 0), (1, 0, 0), (0, 0, 0))
    assert like(stored(LEFT, RIGHT, matches=2, distance=0.03), seen) == (0,)
    assert like(stored(LEFT, RIGHT, matches=2, distance=0.02), seen) == ()
    assert like(stored(LEFT, RIGHT, matches=2, distance=1.0), seen) == (0, 1)
    assert (CAPACITY, MATCHES, DISTANCE) == (1000, 3, 0.35)


def test_a_layer_that_is_counted_again_is_matched_anew() -> None:
    """As if it had been counted at once, over random matrices."""
    rng = np.random.default_rng(0)
    traces = Traces(Shape(5, 7, 9), matches=4, distance=1.0)
    traces.fill(rng.integers(0, 9, (40, 5, 7)).astype(float))
    running = Likeness(traces, np.zeros((5, 7)))
    for _ in range(60):
        layer = int(rng.integers(5))
        running.matrix[layer, rng.integers(7)] += 1
        running.counted(layer)
        assert running.nearest() == like(traces, running.matrix)
        seen = [row for row in range(5) if running.matrix[row].any()]
        cosines = [
            sum(
                float(one[row] @ running.matrix[row] / np.linalg.norm(one[row]) / np.linalg.norm(running.matrix[row]))
                for row in seen
            )
            for one in traces.counts
        ]
        assert running.cosines == pytest.approx(cosines)
        assert running.nearest() == tuple(np.argsort(-np.array(cosines), kind="stable")[:4].tolist())


def test_beyond_the_capacity_the_nearest_makes_room() -> None:
    traces = Traces(SHAPE, capacity=2)
    longer = LEFT * 2 + matrix((0, 1, 0), (0, 0, 0), (0, 0, 0))
    for one in (LEFT, RIGHT, longer):
        traces.add(one)
    assert np.array_equal(traces.counts, [longer, RIGHT])
    assert like(traces, RIGHT) == (1,)


def test_of_too_many_stored_matrices_each_cluster_keeps_one() -> None:
    """Three near LEFT, two near RIGHT: the middle one of the three, and one of the two."""
    turned = [matrix((4, 0, 0), (3, one, 0), (0, 0, 4)) for one in (0, 1, 2)]
    many = np.stack([RIGHT, *turned, RIGHT * 3])
    kept = representatives(many, 2)
    assert len(kept) == 2
    assert np.array_equal(kept[1], turned[1])
    assert np.array_equal(kept[0] / kept[0].sum(), RIGHT / RIGHT.sum())
    traces = Traces(SHAPE, capacity=2)
    traces.fill(many)
    assert np.array_equal(traces.counts, kept)


def test_probabilities_are_those_of_the_match_and_of_the_sequence_together() -> None:
    """Two tokens went to expert 1 of layer 1, where LEFT has (3, 1, 0): (3, 3, 0), a half each; of two tokens in a
    forward three quarters. Layer 0 says that it is like LEFT."""
    matrices = trained(LEFT, RIGHT)
    matrices.begin(1)
    matrices.count(0, 0, [0, 0])
    assert matrices.probabilities().tolist() == [[1, 0, 0], [0.75, 0.25, 0], [0, 0, 1]]
    matrices.count(0, 1, [1, 1])
    assert matrices.probabilities()[1].tolist() == [0.5, 0.5, 0]
    matrices.width = 2
    matrices.count(0, 1, [])
    assert matrices.probabilities()[1].tolist() == [0.75, 0.75, 0]
    several = ActivationMatrices(SHAPE, 2, stored(LEFT))
    several.begin(1)
    several.count(0, 0, [0])
    assert several.probabilities()[1].tolist() == [1.0, 0.5, 0], "a token uses two experts"


def test_before_anything_is_like_it_all_are_asked() -> None:
    """The mean of both, as long as one: layer 1 has (1.5, 0.5, 2)."""
    matrices = trained(LEFT, RIGHT)
    matrices.begin(1)
    assert matrices.probabilities()[1].tolist() == [0.375, 0.125, 0.5]
    far = trained(LEFT, distance=0.0)
    far.begin(1)
    far.count(0, 0, [1] * 4)
    assert far.probabilities()[0].tolist() == [0.5, 0.5, 0], "what is too far weighs as much as one match"
    unknown = trained()
    unknown.begin(1)
    unknown.count(0, 0, [2])
    assert unknown.probabilities().tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_rows_of_a_batch_are_matched_apart() -> None:
    matrices = trained(LEFT, RIGHT)
    matrices.begin(2)
    matrices.count(0, 0, [0])
    matrices.count(1, 0, [2])
    assert matrices.probabilities()[1].tolist() == [0.75, 0.25, 1]
    assert matrices.probabilities()[2].tolist() == [1, 0, 1]
    matrices.keep([1])
    assert matrices.probabilities()[2].tolist() == [1, 0, 0]


def after_layer_0(owners: Sequence[int]) -> IdleLink:
    """Behind layer 0 LEFT says: layer 1 (0.75, 0.25, 0), layer 2 (0, 0, 1)."""
    matrices = trained(LEFT, RIGHT)
    matrices.begin(1)
    matrices.count(0, 0, [0, 0])
    return IdleLink(matrices, SHAPE, owners)


def named(hints: Sequence[Hint]) -> list[tuple[int, int]]:
    return [(hint.layer, hint.expert) for hint in hints]


USELESS = (0, 4, 6, 7)
"""Residents: one of layer 0; one of layer 1 with a quarter; two of layer 2 with nothing."""


def test_priority_is_the_probability_falling_with_the_distance() -> None:
    hints = after_layer_0(USELESS).hints(0, room=9.0)
    assert named(hints) == [(1, 0), (2, 2)], "layer 1 is one away of three, layer 2 two"
    assert [1 - hint.urgency for hint in hints] == pytest.approx([(0.75 + EPSILON) * 2 / 3, (1 + EPSILON) / 3])
    assert after_layer_0(USELESS).hints(2, room=9.0) == []
    assert named(after_layer_0((-1, -1, -1, -1)).hints(0, 9.0)) == [(1, 0), (2, 2), (1, 1)], "free slots cost nobody"


def test_a_prefetch_is_worth_more_than_what_it_evicts() -> None:
    """Of layer 1 an expert with a quarter is missing; three residents are as likely or likelier, the fourth is not."""
    assert after_layer_0((0, 3, 8, 4)).hints(0, 9.0) == []
    assert named(after_layer_0((0, 3, 8, 5)).hints(0, 9.0)) == [(1, 1)]
    assert named(after_layer_0((0, 3, 6, 7)).hints(0, 9.0)) == [(2, 2), (1, 1)], "two that nobody needs can go"
    assert named(after_layer_0((0, 3, 6)).hints(0, 9.0)) == [(2, 2)], "the second would evict three quarters"


def test_a_prefetch_is_worth_more_than_the_demand_that_it_holds_up() -> None:
    """Layer 1 misses with 0.75. With room for 0.1 transfers nine tenths of one would hold it up: 0.675 is asked."""
    assert named(after_layer_0(USELESS).hints(0, room=0.1)) == [(1, 0)]
    assert named(after_layer_0((0, 3, 6, 7)).hints(0, room=0.1)) == [(2, 2)], "layer 1 misses with a quarter only"


def test_no_more_is_planned_than_the_link_begins_with_until_the_next_layer_asks() -> None:
    for room, count in ((0.0, 0), (0.5, 1), (1.0, 1), (1.9, 2), (9.0, 2)):
        assert len(after_layer_0(USELESS).hints(0, room)) == count


class Heard(Prefetcher):
    def __init__(self) -> None:
        self.plans: list[list[tuple[int, int]]] = []

    def plan(self, fetch: Sequence[Hint], hold: Sequence[Hint] = ()) -> int:
        self.plans.append(named(fetch))
        return 0


def listening(matrices: ActivationMatrices, **times: object) -> tuple[ActivationMatching, Heard, list[float]]:
    heard, rooms = Heard(), list[float]()

    class Link(IdleLink):
        def hints(self, layer: int, room: float) -> list[Hint]:
            rooms.append(room)
            return super().hints(layer, room)

    link = Link(matrices, SHAPE, USELESS)
    return ActivationMatching(matrices, Hinting(heard, SHAPE), link, **times), heard, rooms  # type: ignore[arg-type]


def test_plans_know_how_long_the_link_is_idle() -> None:
    """Two transfers a layer of so many tokens, five while drafting. Between two layers its own transfers may come in
    last: what is left is one of its experts and the half of the next layer before its experts."""
    listener, heard, rooms = listening(trained(LEFT, RIGHT), carried=lambda tokens: 2.0 * tokens, between=5.0)
    listener.begin(1)
    listener.reading(0, [7])
    listener.routed(0, None, [[2]] * 7)
    listener.decoding()
    listener.routed(0, None, [[0]])
    listener.routed(1, None, [[0], [1], [1]])
    listener.routed(2, None, [[0], [1], [2]])
    listener.end_step()
    assert rooms == [5 + 1, 2 * (1 + 1) / 2, 6 * (1 + 1 / 2) / 2, 5 + 3], "nothing is planned behind the last layer"
    assert heard.plans[1] == [(1, 0), (2, 2)], "what the prompt preferred was not counted: it is like LEFT"


def test_only_a_warm_up_leaves_traces_and_none_where_some_are_stored() -> None:
    for before, expected in (((), 1), ((LEFT, RIGHT), 2)):
        matrices = trained(*before)
        listener, _, _ = listening(matrices)
        for on in (True, False):
            listener.learn(on)
            listener.begin(1)
            listener.decoding()
            listener.routed(1, None, [[2]])
            listener.end()
            assert len(matrices.traces) == expected


def test_the_least_probable_goes_and_with_decay_the_deepest() -> None:
    """Layer 0 (1, 0, 0), layer 1 (0.5, 0.5, 0), layer 2 (0.67, 0.33, 0)."""
    policy, deep = (ActivationAware(_used(), SHAPE, decay) for decay in (False, True))
    for expert in (0, 1, 3, 6):  # with 1, 0, 0.5 and 0.67
        policy.admitted(expert)
        deep.admitted(expert)
    demand = Order(DEMAND, 0, 0.0, 8, 2)
    assert policy.victim(demand, range(9), set()) == 1
    policy.evicted(1)
    assert policy.victim(demand, range(9), set()) == 3
    assert policy.victim(demand, {*range(9)} - {3}, set()) == 6
    assert policy.victim(Order(PREFETCH, 0, 0.0, 8, 2), range(9), {0, 3, 6}) is None
    assert policy.victim(demand, range(9), {0, 3, 6}) == 3
    assert deep.victim(demand, {*range(9)} - {1}, set()) == 6, "0.67 / 3 is less than 0.5 * 2 / 3"


def _used() -> ActivationMatrices:
    matrices = trained()
    matrices.begin(1)
    matrices.count(0, 0, [0])
    matrices.count(0, 1, [0, 1])
    matrices.count(0, 2, [0, 0, 1])
    return matrices


def test_a_prefetch_evicts_nobody_who_is_worth_more() -> None:
    """The plan was made when others could go: with those read now, it is refused."""
    link = after_layer_0(USELESS)
    policy = ActivationAware(link._matrices, SHAPE)
    policy.link = link
    for expert in USELESS:
        policy.admitted(expert)
    (hint,) = link.hints(0, room=0.9)
    order = Order(PREFETCH, hint.urgency, 0.0, 3, 1)
    assert link.limit == pytest.approx(0.75 - 0.75 * 0.1)
    assert policy.victim(order, range(9), set()) == 6
    assert policy.victim(order, {4}, set()) == 4, "a quarter is less"
    assert policy.victim(order, {0}, set()) is None
    assert policy.victim(Order(DEMAND, 0, 0.0, 3, 1), {0}, set()) == 0


def test_the_victim_is_that_of_a_search_through_all_residents() -> None:
    rng, shape = random.Random(1), Shape(layers=5, experts=12, slots=20)
    traces = Traces(shape)
    traces.fill(np.random.default_rng(1).integers(0, 4, (30, 5, 12)).astype(float))
    matrices, residents = ActivationMatrices(shape, 2, traces), dict[int, None]()
    matrices.begin(1)
    policy = ActivationAware(matrices, shape)
    for _ in range(600):
        matrices.count(0, rng.randrange(shape.layers), rng.sample(range(shape.experts), 2))
        pinned, held = set(rng.sample(range(60), 8)), set(rng.sample(range(60), 8))
        scores = _plainly(matrices, shape)
        free = [expert for expert in residents if expert not in pinned]
        spared = [expert for expert in free if expert not in held] or free
        expected = min((scores[expert] for expert in spared), default=None)
        victim = policy.victim(Order(DEMAND, 0, 0.0, 0, 0), {*range(60)} - pinned, held)
        assert (None if victim is None else scores[victim]) == (None if expected is None else pytest.approx(expected))
        assert victim is None or victim in spared
        if victim is not None and len(residents) >= shape.slots:
            policy.evicted(victim)
            del residents[victim]
        elif (fresh := rng.randrange(60)) not in residents:
            policy.admitted(fresh)
            residents[fresh] = None


def _plainly(matrices: ActivationMatrices, shape: Shape) -> list[float]:
    """Probabilities worked out from nothing."""
    (running,) = matrices.running
    near = like(matrices.traces, running.matrix)
    counts = matrices.traces.counts[list(near)].sum(axis=0) if near else matrices.traces.prior
    counts = counts + running.matrix
    found: list[float] = np.minimum(1.0, 2 * counts / counts.sum(axis=1, keepdims=True)).ravel().tolist()
    return found
