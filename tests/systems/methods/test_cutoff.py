"""Which depths are tried, and which one is taken."""

import pytest

from systems.methods.sp_moe.cutoff import shortest, times_by_depth


def test_of_equally_fast_depths_the_smallest_is_taken() -> None:
    assert shortest({0: 2.0, 1: 1.0, 2: 1.0 + 1e-12, 3: 3.0}) == 1


@pytest.mark.parametrize("best", [0, 5, 17, 30, 47, 48])
def test_of_many_layers_few_depths_are_tried(best: int) -> None:
    tried: list[int] = []

    def play(depth: int) -> float:
        tried.append(depth)
        return abs(depth - best) + 1.0

    assert shortest(times_by_depth(play, 48)) == best
    assert len(tried) == len(set(tried)) <= 20
