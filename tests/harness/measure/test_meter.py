from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from harness.measure.meter import RecordingMeter
from harness.records.generation import Commit
from systems.api import NullMeter, Traffic


class ScriptedClock:
    """Time that moves only when a test says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def pass_(self, milliseconds: float) -> None:
        self.now += int(milliseconds * 1e6)


@pytest.fixture
def clock() -> ScriptedClock:
    return ScriptedClock()


def test_spans_are_exclusive_and_cover_first_to_last_commit(clock: ScriptedClock) -> None:
    meter = RecordingMeter(["a"], [10], clock=clock)
    with meter.span("prefill"):
        clock.pass_(100)  # before the first commit: TTFT, no part of the window
    meter.commit(0, [5])
    with meter.span("draft"):
        clock.pass_(2)
    with meter.span("verify"):
        clock.pass_(3)
        with meter.span("transfer"):
            clock.pass_(4)
        clock.pass_(1)
    with meter.span("host"):
        clock.pass_(0.5)
        meter.commit(0, [6, 7])
        clock.pass_(50)  # after the last commit
    clock.pass_(7)
    generation = meter.finish()
    assert {name: span / 1e6 for name, span in generation.window.items()} == {
        "": 0, "prefill": 0, "draft": 2, "verify": 4, "transfer": 4, "host": 0.5,
    }  # fmt: skip
    assert generation.window_time == generation.rows[0].decode_time == 10.5e6


def test_what_a_device_attributes_is_taken_from_the_open_span(clock: ScriptedClock) -> None:
    """The host has waited for 9 ms inside `verify`, and the device tells it was idle for 4 of them; the sum stays."""
    meter = RecordingMeter(["a"], [10], clock=clock)
    meter.commit(0, [5])
    with meter.span("verify"):
        clock.pass_(9)
        meter.attribute("transfer", 0.004)
        clock.pass_(1)
    meter.step([0], [0], [0])
    meter.commit(0, [6])
    generation = meter.finish()
    assert generation.window == {
        "": 0, "prefill": 0, "draft": 0, "verify": 6e6, "transfer": 4e6, "host": 0,
    }  # fmt: skip
    (step,) = generation.steps
    assert (step.spans["verify"], step.spans["transfer"], step.seconds) == (0.006, 0.004, 0.01)


def test_time_outside_spans_is_residual(clock: ScriptedClock) -> None:
    meter = RecordingMeter(["a"], [10], clock=clock)
    meter.commit(0, [5])
    clock.pass_(3)
    with meter.span("verify"):
        clock.pass_(7)
    meter.commit(0, [6])
    assert meter.finish().window == {
        "": 3e6, "prefill": 0, "draft": 0, "verify": 7e6, "transfer": 0, "host": 0,
    }  # fmt: skip


def test_an_exception_closes_its_spans(clock: ScriptedClock) -> None:
    meter = RecordingMeter(["a"], [10], clock=clock)
    meter.commit(0, [1])
    with pytest.raises(ValueError, match="lost"), meter.span("verify"), meter.span("transfer"):
        raise ValueError("lost")
    clock.pass_(4)
    meter.commit(0, [2])
    assert meter.finish().window[""] == 4e6


def test_steps_run_from_prefill_commit_to_step_to_step(clock: ScriptedClock) -> None:
    meter = RecordingMeter(["a"], [10], clock=clock)
    clock.pass_(100)
    meter.commit(0, [1])
    with meter.span("draft"):
        clock.pass_(2)
    meter.commit(0, [2, 3])
    meter.step([0], [2], [1])
    clock.pass_(1)
    with meter.span("verify"):
        clock.pass_(5)
    meter.commit(0, [4])
    meter.step([0], [2], [0])
    first, second = meter.finish().steps
    assert (first.seconds, first.spans["draft"]) == (0.002, 0.002)
    assert (second.seconds, second.spans["verify"], second.spans["draft"]) == (0.006, 0.005, 0)
    assert (first.drafted, first.accepted) == ((2,), (1,))


def test_trimming_at_limit_counts_kept_tokens_only(clock: ScriptedClock) -> None:
    meter = RecordingMeter(["a"], [3], clock=clock)
    assert not meter.commit(0, [1])
    assert meter.commit(0, [2, 3, 4])
    assert meter.commit(0, [5])  # a row that is complete takes nothing more
    (row,) = meter.finish().rows
    assert (row.tokens, row.handed, row.stopped) == ([1, 2, 3], 5, False)
    assert [commit.kept for commit in row.commits] == [1, 2]


def test_trimming_at_the_stop_token_keeps_it(clock: ScriptedClock) -> None:
    meter = RecordingMeter(["a"], [9], frozenset({0}), clock=clock)
    assert meter.commit(0, [1, 0, 7])
    clock.pass_(5)
    assert meter.commit(0, [8])
    (row,) = meter.finish().rows
    assert (row.tokens, row.stopped, row.commits) == ([1, 0], True, [Commit(0, 2)])


def test_rows_of_a_batch_are_kept_apart(clock: ScriptedClock) -> None:
    meter = RecordingMeter(["a", "b"], [2, 4], clock=clock)
    meter.commit(0, [1])
    clock.pass_(10)
    meter.commit(1, [1])
    clock.pass_(10)
    assert meter.commit(0, [2])
    assert not meter.commit(1, [2, 3])
    a, b = meter.finish().rows
    assert (a.decode_time, a.decode_tokens) == (20e6, 1)
    assert (b.decode_time, b.decode_tokens) == (10e6, 2)


def test_reports_know_the_step_that_was_open(clock: ScriptedClock) -> None:
    meter = RecordingMeter(["a"], [9], clock=clock)
    meter.traffic(Traffic("prefill"))
    meter.step([0], [0], [0])
    meter.traffic(Traffic("decode"))
    assert [(report.steps, report.traffic.phase) for report in meter.finish().reports] == [
        (0, "prefill"),
        (1, "decode"),
    ]


def test_agrees_with_the_null_meter_on_completion() -> None:
    recording, nothing = RecordingMeter(["a"], [4], frozenset({0})), NullMeter([4], frozenset({0}))
    for tokens in ([3], [4, 5], [6, 0]):
        assert recording.commit(0, tokens) == nothing.commit(0, tokens)
    assert recording.finish().rows[0].tokens == nothing.tokens[0] == [3, 4, 5, 6]


def test_outermost_spans_and_commits_wait_for_the_device(clock: ScriptedClock) -> None:
    waits: list[int] = []

    def synchronize() -> None:
        waits.append(clock.now)
        clock.pass_(1)  # kernels that were still running

    meter = RecordingMeter(["a"], [9], clock=clock, synchronize=synchronize)
    meter.commit(0, [1])
    with meter.span("verify"):
        with meter.span("transfer"):
            clock.pass_(2)
        clock.pass_(3)
    meter.commit(0, [2])
    window = meter.finish().window
    assert len(waits) == 4  # two commits, entering and leaving `verify`
    assert (window["verify"], window["transfer"]) == (4e6, 2e6)


def test_a_span_costs_little() -> None:
    """Against the least that it could cost on this machine, now: a context manager and two looks at the clock."""
    meter = RecordingMeter(["a"], [9])
    rounds = 2000

    def seconds_each(measure: Callable[[], AbstractContextManager[object]], looks: int) -> float:
        start = time.perf_counter()
        for _ in range(rounds):
            with measure():
                for _ in range(looks):
                    time.perf_counter_ns()
        return (time.perf_counter() - start) / rounds

    def ratio() -> float:
        return seconds_each(lambda: meter.span("verify"), looks=0) / seconds_each(contextlib.nullcontext, looks=2)

    # 2 to 3 on an idle machine; a busy one disturbs single rounds, hardly the best of many.
    assert min(ratio() for _ in range(20)) < 6
