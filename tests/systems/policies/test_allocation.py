from itertools import product

import pytest

from systems.policies.allocation import allocate, expected_loads, lru_misses


def test_misses_by_slots_follow_from_stack_distances() -> None:
    """0 1 0 2 1: the second 0 lies behind one other expert, the second 1 behind two."""
    assert lru_misses([[0, 1], [0, 2], [1]], most=3) == [5, 5, 4, 3]


def test_what_the_predictor_names_costs_nothing() -> None:
    assert expected_loads([10, 6, 2], accuracy=0.75) == [2.5, 1.5, 0.5]


def test_slots_go_where_they_save_most() -> None:
    """Layer 0 saves 5 with its second slot, layer 1 saves 1: three slots are two and one."""
    assert allocate([[20, 10, 5, 5], [20, 10, 9, 8]], 3) == [2, 1]
    assert allocate([[20, 10, 5, 5], [20, 10, 9, 8]], 4) == [2, 2]
    assert allocate([[8, 0, 0], [9, 9, 0]], 3) == [1, 2]


def test_the_programme_finds_the_best_of_all_divisions() -> None:
    loads = [[30, 9, 7, 3, 2], [30, 14, 6, 5, 1], [30, 12, 11, 2, 2]]
    for slots in range(3, 12):
        quotas = allocate(loads, slots)
        divisions = [d for d in product(range(1, 5), repeat=3) if sum(d) <= slots]
        best = min(sum(t[n] for t, n in zip(loads, d, strict=True)) for d in divisions)
        assert sum(quotas) <= slots
        assert sum(t[n] for t, n in zip(loads, quotas, strict=True)) == best


def test_of_equally_good_divisions_the_earlier_layer_gets_more() -> None:
    assert allocate([[2, 1, 0], [2, 1, 0]], 3) == [2, 1]


def test_each_layer_needs_a_slot() -> None:
    with pytest.raises(ValueError, match="2 slots cannot be divided among 3 layers"):
        allocate([[1, 0], [1, 0], [1, 0]], 2)
