"""MoE-Infinity's policies on hand-made matrices: two layers ahead, three experts a layer."""

import random

import numpy as np
import pytest

from systems.policies.activation import CAPACITY, EPSILON, ActivationAware, ActivationMatrices, Traces
from systems.policies.orders import DEMAND, PREFETCH, Order, Shape
from systems.policies.predicting import ActivationMatching

SHAPE = Shape(layers=3, experts=3, slots=4)


def matrix(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, dtype=float)


def trained(*traces: np.ndarray) -> ActivationMatrices:
    matrices = ActivationMatrices(SHAPE)
    for trace in traces:
        matrices.traces.add(trace)
    return matrices


LEFT = matrix((4, 0, 0), (3, 1, 0), (0, 0, 4))
RIGHT = matrix((0, 0, 4), (0, 0, 4), (4, 0, 0))


def test_the_nearest_trace_is_that_with_the_largest_cosine() -> None:
    traces = Traces(SHAPE)
    traces.add(LEFT)
    traces.add(RIGHT)
    seen = matrix((0, 0, 1), (0, 0, 0), (0, 0, 0))
    found = traces.nearest(seen)
    assert found is not None
    assert traces[found][2, 0] > 0, "RIGHT, whatever the lengths of the sequences"
    assert Traces(SHAPE).nearest(seen) is None


def test_priority_is_the_ratio_falling_with_the_distance() -> None:
    """After layer 0 with expert 0: LEFT. Layer 1 is one away of three, layer 2 two."""
    matrices = trained(LEFT, RIGHT)
    matrices.begin(1)
    matrices.count(0, 0, [0, 0])
    hints = matrices.hints(0, most=9)
    assert [(hint.layer, hint.expert) for hint in hints] == [(1, 0), (2, 2), (1, 1)]
    expected = [(0.75 + EPSILON) * 2 / 3, (1 + EPSILON) / 3, (0.25 + EPSILON) * 2 / 3]
    assert [1 - hint.urgency for hint in hints] == pytest.approx(expected)
    assert matrices.hints(0, most=1) == hints[:1]
    assert matrices.hints(2, most=9) == []


def test_rows_of_a_batch_are_matched_apart() -> None:
    matrices = trained(LEFT, RIGHT)
    matrices.begin(2)
    matrices.count(0, 0, [0])
    matrices.count(1, 0, [2])
    assert {(hint.layer, hint.expert) for hint in matrices.hints(1, most=9)} == {(2, 0), (2, 2)}
    matrices.keep([1])
    assert {(hint.layer, hint.expert) for hint in matrices.hints(1, most=9)} == {(2, 0)}


def test_prompts_that_are_read_together_count_for_their_rows() -> None:
    """Of the second and third row, two tokens and one; then all three rows decode a token each."""
    matrices = ActivationMatrices(SHAPE)
    listener = ActivationMatching(matrices, None, most=0)
    listener.begin(3)
    listener.reading(1, [2, 1])
    listener.routed(0, None, [[0], [2], [1]])
    assert [m[0].tolist() for m in matrices.matrices] == [[0, 0, 0], [1, 0, 1], [0, 1, 0]]
    listener.decoding()
    listener.routed(0, None, [[0], [0], [2]])
    assert [m[0].tolist() for m in matrices.matrices] == [[1, 0, 0], [2, 0, 1], [0, 1, 1]]


def test_only_a_warm_up_leaves_traces() -> None:
    matrices = ActivationMatrices(SHAPE)
    for collecting, count in ((True, 1), (False, 1)):
        matrices.collecting = collecting
        matrices.begin(1)
        matrices.count(0, 1, [2])
        matrices.end()
        assert len(matrices.traces) == count


def test_beyond_the_capacity_the_nearest_makes_room() -> None:
    traces = Traces(SHAPE, capacity=2)
    traces.add(LEFT)
    traces.add(RIGHT)
    traces.add(LEFT * 2 + matrix((0, 1, 0), (0, 0, 0), (0, 0, 0)))
    assert len(traces) == 2
    found = traces.nearest(RIGHT)
    assert found is not None
    assert np.allclose(traces[found] * np.linalg.norm(RIGHT), RIGHT), "the one that was not near is still there"
    assert CAPACITY == 1000


def test_the_least_active_goes_and_of_equals_the_deepest() -> None:
    """Ratios: layer 0 (1, 0, 0), layer 1 (0.5, 0.5, 0); weights 1, 2/3, 1/3."""
    matrices = ActivationMatrices(SHAPE)
    matrices.begin(1)
    matrices.count(0, 0, [0])
    matrices.count(0, 1, [0, 1])
    policy = ActivationAware(matrices.scores, SHAPE)
    for expert in (0, 1, 3, 6):  # (0,0) used, (0,1) unused, (1,0) used, (2,0) unused
        policy.admitted(expert)
    demand = Order(DEMAND, 0, 0.0, 8, 2)
    assert policy.victim(demand, range(9), set()) == 6, "unused, in the deepest layer"
    policy.evicted(6)
    assert policy.victim(demand, range(9), set()) == 1
    assert policy.victim(demand, {*range(9)} - {1}, set()) == 3
    assert policy.victim(Order(PREFETCH, 0, 0.0, 8, 2), range(9), {0, 1, 3}) is None
    assert policy.victim(demand, range(9), {0, 1, 3}) == 1
    likely, unlikely = (Order(PREFETCH, 1.0 - priority, 0.0, 8, 2) for priority in (0.3, 1e-4))
    assert policy.victim(likely, range(9), set()) == 1
    assert policy.victim(unlikely, range(9), set()) is None, "less likely than what it would evict"


def test_the_victim_is_that_of_a_search_through_all_residents() -> None:
    rng, shape = random.Random(1), Shape(layers=5, experts=12, slots=20)
    matrices, residents = ActivationMatrices(shape), dict[int, None]()
    matrices.begin(1)
    policy = ActivationAware(matrices.scores, shape)
    for _ in range(600):
        matrices.count(0, rng.randrange(shape.layers), rng.sample(range(shape.experts), 2))
        pinned, held = set(rng.sample(range(60), 8)), set(rng.sample(range(60), 8))
        scores = _plain_scores(matrices, shape)
        free = [expert for expert in residents if expert not in pinned]
        spared = [expert for expert in free if expert not in held] or free
        expected = min((scores[expert] for expert in spared), default=None)
        victim = policy.victim(Order(DEMAND, 0, 0.0, 0, 0), {*range(60)} - pinned, held)
        assert (None if victim is None else scores[victim]) == expected
        assert victim is None or victim in spared
        if victim is not None and len(residents) >= shape.slots:
            policy.evicted(victim)
            del residents[victim]
        elif (fresh := rng.randrange(60)) not in residents:
            policy.admitted(fresh)
            residents[fresh] = None


def _plain_scores(matrices: ActivationMatrices, shape: Shape) -> list[float]:
    (matrix,) = matrices.matrices
    return [
        (count / (matrix[layer].sum() or 1.0) + EPSILON) * (1 - layer / shape.layers)
        for layer in range(shape.layers)
        for count in matrix[layer].tolist()
    ]
