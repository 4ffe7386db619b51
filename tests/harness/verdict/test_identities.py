from __future__ import annotations

import pytest

from harness.records.generation import Generation
from harness.verdict.identities import violations
from systems.api import LayerNeeds
from tests.harness.builders import generation, row, step, traffic


def _sound() -> Generation:
    needs = LayerNeeds(needed=5, resident=1, on_time=1, late=1, demand=1, elsewhere=1)
    reports = [
        traffic("prefill", [needs], moved_bytes=10, demand_bytes=7, useful_bytes=1),
        traffic("decode", moved_bytes=5, late_bytes=3, wasted_bytes=4),  # settles the prefill's 2 as well
    ]
    steps = [step(2, 1), step(2, 0)]
    return generation(row("a", (0, 1), (1, 2), (2, 1)), steps=steps, reports=reports)


def test_sound_records_violate_nothing() -> None:
    assert violations([_sound()]) == []


def test_a_lost_need_is_caught() -> None:
    broken = _sound()
    broken.reports[0].traffic.layers[0].demand = 0
    (text,) = violations([broken])
    assert "layer 0: needed 5 experts" in text
    assert text.endswith("= 4")


@pytest.mark.parametrize("field", ["moved_bytes", "demand_bytes", "useful_bytes", "late_bytes", "wasted_bytes"])
def test_lost_bytes_are_caught(field: str) -> None:
    broken = _sound()
    setattr(broken.reports[0].traffic, field, 99)
    assert "bytes, but demand" in violations([broken])[0]


def test_bytes_that_went_back_for_no_eviction_are_caught() -> None:
    """One demanded expert is 7 bytes, so that three evictions are 21."""
    for back, broken in ((21, False), (14, True)):
        copied = _sound()
        report = copied.reports[0].traffic
        report.evictions, report.written_back_bytes = 3, back
        found = violations([copied])
        assert bool(found) == broken
    assert found == [
        "repeat 0, batch 0: 14 bytes were written back, but there were 3 evictions; 1 demanded experts are 7 bytes"
    ]


def test_more_accepted_than_drafted_is_caught() -> None:
    broken = _sound()
    broken.steps[0] = step(2, 3)
    assert any("accepted 3 of 2 drafts" in text for text in violations([broken]))


def test_tokens_that_no_step_explains_are_caught() -> None:
    broken = _sound()
    broken.rows[0].handed = 5
    assert violations([broken]) == ["repeat 0, batch 0: request 'a': 5 tokens committed, but 1 + accepted + steps = 4"]


def test_systems_that_report_no_steps_are_not_judged_by_them() -> None:
    assert violations([generation(row("a", (0, 1), (1, 9)))]) == []
