import random
from itertools import combinations, product

import numpy as np
import pytest

from systems.methods.adapmoe.allocation import allocate, evenly, expected_loads, missed


def test_misses_by_slots_follow_from_stack_distances() -> None:
    """0 1, 0 2, 1: in the second forward 0 lies behind one other expert, in the third 1 behind two."""
    assert missed([[0, 1], [0, 2], [1]], most=3).tolist() == [[2, 2, 2, 2], [2, 2, 1, 1], [1, 1, 1, 0]]


@pytest.mark.parametrize("slots", [0, 1, 3, 5, 8])
def test_misses_are_those_of_a_cache_that_is_asked_forward_by_forward(slots: int) -> None:
    rng = random.Random(slots)
    needs = [sorted(rng.sample(range(8), rng.randint(1, 4))) for _ in range(200)]
    recent: list[int] = []
    for forward, experts in enumerate(needs):
        resident = set(recent[::-1][:slots])
        assert missed(needs, 8)[forward, slots] == len(set(experts) - resident)
        recent = [expert for expert in recent if expert not in experts] + experts


def test_a_single_miss_is_hidden_by_accuracy_and_the_share_that_there_is_time_for() -> None:
    once = np.array([[1, 1, 0]] * 4)
    assert expected_loads(once, accuracy=0.75, hidden=2.0) == [1.0, 1.0, 0.0]
    assert expected_loads(once, accuracy=0.75, hidden=1 / 16) == [4 * (1 - 0.75 / 16)] * 2 + [0.0]
    assert expected_loads(once, accuracy=0.0, hidden=2.0) == [4.0, 4.0, 0.0]
    assert expected_loads(3 * once, accuracy=0.5, hidden=float("inf")) == [6.0, 6.0, 0.0]


@pytest.mark.parametrize("slots", range(9))
def test_with_room_for_one_prefetch_loads_are_those_of_the_released_code(slots: int) -> None:
    """`f` of src/dp.py (PKU-SEC-Lab/AdapMoE @2cfe8df), two of eight equally likely experts; `accs` is our accuracy."""
    accuracy = 0.72
    both, one = (8 - slots) * (7 - slots) / 56, 2 * (8 - slots) * slots / 56
    released = 2 * both * (1 - accuracy) + both * accuracy + one * (1 - accuracy)
    pairs = list(combinations(range(8), 2))
    misses = np.array([[sum(expert >= slots for expert in pair)] for pair in pairs])
    assert expected_loads(misses, accuracy, hidden=1.0)[0] / len(pairs) == pytest.approx(released)


def test_slots_go_where_they_save_most() -> None:
    """Layer 0 saves 5 with its second slot, layer 1 saves 1: three slots are two and one."""
    assert allocate([[20, 10, 5, 5], [20, 10, 9, 8]], 3, 1) == [2, 1]
    assert allocate([[20, 10, 5, 5], [20, 10, 9, 8]], 4, 1) == [2, 2]
    assert allocate([[8, 0, 0], [9, 9, 0]], 3, 1) == [1, 2]


@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize("hidden", [0.1, 1.0, 3.0])
def test_the_division_of_a_trace_is_the_best_of_all(least: int, hidden: float) -> None:
    """Layer 0 cycles through four experts, layer 1 alternates between two pairs, layer 2 strays over six."""
    rng = random.Random(4)
    needs = [
        [[turn % 4] for turn in range(40)],
        [[0, 1] if turn % 3 else [2, 3] for turn in range(40)],
        [sorted(rng.sample(range(6), 2)) for _ in range(40)],
    ]
    accuracies = [0.0, 0.9, 0.5]

    def load(layer: int, slots: int) -> float:
        """Replayed with a list, in the words of the paper."""
        recent, waited = list[int](), 0.0
        for experts in needs[layer]:
            misses = sum(expert not in recent[:slots] for expert in experts)
            waited += misses - accuracies[layer] * min(misses, hidden)
            recent = experts[::-1] + [expert for expert in recent if expert not in experts]
        return waited

    tables = [expected_loads(missed(n, 6), a, hidden) for n, a in zip(needs, accuracies, strict=True)]
    for slots in range(3 * least, 14):
        divisions = [d for d in product(range(least, 7), repeat=3) if sum(d) <= slots]
        best = min(sum(load(layer, own) for layer, own in enumerate(d)) for d in divisions)
        quotas = allocate(tables, slots, least)
        assert min(quotas) >= least
        assert sum(quotas) <= slots
        assert sum(load(layer, own) for layer, own in enumerate(quotas)) == pytest.approx(best)


def test_what_is_hidden_moves_slots_to_where_it_is_not() -> None:
    """Two layers with the same needs, the second foretold: it gives its slots away if there is time to hide misses."""
    misses = missed([[turn % 3] for turn in range(30)], 4)

    def division(hidden: float) -> list[int]:
        return allocate([expected_loads(misses, a, hidden) for a in (0.0, 0.9)], 4, 1)

    assert division(1.0) == [3, 1]
    assert expected_loads(misses, 0.9, 1 / 16)[1] > 0.9 * expected_loads(misses, 0.0, 1 / 16)[1]


def test_of_equally_good_divisions_the_earlier_layer_gets_more() -> None:
    assert allocate([[2, 1, 0], [2, 1, 0]], 3, 1) == [2, 1]


def test_too_few_slots_are_divided_evenly() -> None:
    assert allocate([[9, 0, 0], [9, 9, 9], [9, 9, 9]], 5, 2) == [2, 2, 1] == evenly(5, 3)
    assert allocate([[1, 0], [1, 0], [1, 0]], 2, 1) == [1, 1, 0]
