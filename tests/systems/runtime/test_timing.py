"""Medians over actions that take turns, for as long as is asked."""

from __future__ import annotations

import pytest

from systems.runtime import timing


class Clock:
    """Moves on when an action is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def action(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(timing, "time", made)
    return made


@pytest.mark.parametrize(("seconds", "rounds"), [(None, 4), (6.0, 16), (1e-9, 1)])
def test_each_time_is_sampled_as_long_as_is_asked_and_once_at_least(
    clock: Clock, seconds: float | None, rounds: int
) -> None:
    done: list[str] = []

    def action(name: str, took: float) -> None:
        done.append(name)
        clock.action(took)

    actions = [lambda: action("short", 0.25), lambda: action("long", 0.5)]
    assert timing.medians(actions, "cpu", seconds) == [0.25, 0.5]
    assert done == ["short", "long"] * (1 + rounds), "the first round is not timed"
