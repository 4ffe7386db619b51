from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.metrics.oracle_gap import SAME_DRAFT
from harness.metrics.speedup import SPEEDUP
from harness.verdict import bounds
from systems.api import SystemConfig

ORACLE = SystemConfig("oracle", "test", residency={"part": "belady"})
PLAIN = SystemConfig("plain", "test")
DRAFTS = SystemConfig("drafts", "test", drafter={"part": "model", "draft_length": 2})


def row(system: str = "plain", status: str = "ok", bytes: float | None = 1000.0, **metrics: float) -> dict[str, Any]:
    values = {"bytes_per_token": bytes, **metrics}
    return {"system": system, "status": status, "metrics": {id: {"value": value} for id, value in values.items()}}


def with_gap(value: float, low: float | None, high: float | None, **parts: Any) -> dict[str, Any]:
    found = row(**parts)
    found["metrics"]["oracle_gap"] = SAME_DRAFT.known(value, 16, low, high, "oracle").row()
    return found


def test_an_oracle_is_known_by_its_residency() -> None:
    assert bounds.is_oracle(ORACLE)
    assert not bounds.is_oracle(PLAIN)


def test_same_draft_means_part_and_length() -> None:
    longer = replace(DRAFTS, drafter={"part": "model", "draft_length": 4})
    systems = {"a": PLAIN, "b": DRAFTS, "c": longer, "oracle": ORACLE, "sd_oracle": DRAFTS}
    oracles = ["oracle", "sd_oracle"]
    found = [bounds.same_draft(label, oracles, systems) for label in "abc"]
    assert found == ["oracle", "sd_oracle", None]


@pytest.mark.parametrize(
    ("change", "bounded"),
    [
        ({}, True),
        ({"lossless": False}, False),
        ({"residency": {"part": "all"}}, False),
        ({"engine": {"part": "transformers"}}, False),
    ],
)
def test_whom_the_bounds_bind(change: dict[str, Any], bounded: bool) -> None:
    assert bounds.is_bounded(replace(PLAIN, **change), row()) is bounded


def test_a_draft_is_the_same_however_its_work_is_divided_but_not_with_a_governor() -> None:
    for change, same in (({"split": 2}, True), ({"by_positions": {0: 2}}, False)):
        other = replace(DRAFTS, drafter={**DRAFTS.drafter, **change})
        assert (bounds.drafting(other) == bounds.drafting(DRAFTS)) is same
    assert bounds.drafting(replace(DRAFTS, governor={"part": "roofline"})) != bounds.drafting(DRAFTS)


def test_the_oracle_of_a_system_may_compute_where_that_may() -> None:
    able = replace(ORACLE, placement={"part": "cpu"})
    systems = {"plain": PLAIN, "cpu": replace(PLAIN, placement={"part": "cpu"}), "oracle": ORACLE, "able": able}
    assert bounds.oracle_of("plain", ["able", "oracle"], systems) == "oracle", "the tighter bound"
    assert bounds.oracle_of("plain", ["able"], systems) == "able"
    assert bounds.oracle_of("cpu", ["oracle", "able"], systems) == "able"
    assert bounds.oracle_of("cpu", ["oracle"], systems) is None


def test_what_is_suspect_already_is_not_judged() -> None:
    for status, judged in (("noisy", True), ("nothing_offloaded", False), ("diverged", False), ("failed", False)):
        assert bounds.is_bounded(PLAIN, row(status=status)) is judged


@pytest.mark.parametrize(
    ("interval", "beyond"),
    [
        ((1.2, 1.1, 1.3), False),
        ((0.98, 0.97, 0.99), False),  # an A/A run shows as much
        ((0.90, 0.80, 0.97), False),
        ((0.90, 0.80, 0.969), True),
        ((0.50, None, None), False),  # one prompt proves nothing
    ],
)
def test_faster_than_the_oracle_by_the_whole_interval(interval: Any, beyond: bool) -> None:
    found = list(bounds.below_oracle(with_gap(*interval), "oracle"))
    assert bool(found) is beyond
    assert not beyond or found == ["TPOT is 0.90 [0.80, 0.97] times that of oracle, its lower bound"]


@pytest.mark.parametrize(("ours", "beyond"), [(1001.0, False), (999.5, False), (998.5, True), (None, False)])
def test_fewer_bytes_than_the_oracle(ours: float | None, beyond: bool) -> None:
    found = list(bounds.below_oracle(with_gap(1.2, 1.1, 1.3, bytes=ours), "oracle", 1000.0))
    assert bool(found) is beyond


@pytest.mark.parametrize(("ours", "beyond"), [(950.0, False), (940.0, True)])
def test_what_a_system_holds_at_the_start_may_spare_it_fetches(ours: float, beyond: bool) -> None:
    found = list(bounds.below_oracle(with_gap(1.2, 1.1, 1.3, bytes=ours), "oracle", 1000.0, head_start=50))
    assert bool(found) is beyond


def test_an_oracle_that_says_nothing_of_bytes_binds_none() -> None:
    assert not list(bounds.below_oracle(with_gap(1.2, 1.1, 1.3, bytes=1.0), "oracle"))


@pytest.mark.parametrize(
    ("ours", "slowdown", "broken"),
    [
        (1000.0, (1.0, 0.9, 1.1), 0),
        (1000.5, (1.05, 1.02, 1.1), 0),
        (1002.0, (1.0, 0.9, 1.1), 1),
        (900.0, (1.05, 1.031, 1.1), 1),
        (1002.0, (1.05, 1.04, 1.1), 2),
    ],
)
def test_worse_than_keeping_nothing(ours: float, slowdown: tuple[float, float, float], broken: int) -> None:
    value, low, high = slowdown
    found = list(bounds.above_nothing_kept(row(bytes=ours), row("no_cache"), SPEEDUP.known(value, 9, low, high)))
    assert len(found) == broken
    assert all("no_cache, which keeps nothing" in text for text in found)
