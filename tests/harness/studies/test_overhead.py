from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.measure.meter import RecordingMeter, _Span
from harness.studies import overhead
from systems.api import Meter, NullMeter, Request
from tests.harness import fake
from tests.harness.app import CONF, SMALL


class SlowToMeasure(fake.FakeSystem):
    """Steps of 0.2 ms, and 0.1 ms more when a span is one that records."""

    def generate(self, requests: Sequence[Request], meter: Meter) -> None:
        for _ in range(40):
            with meter.span("verify"):
                recorded = isinstance(meter.span("verify"), _Span)
                fake.spin(300_000 if recorded else 200_000)
            meter.step([0], [0], [0])


BATCHES = [(Request(str(i), (1,), 4),) for i in range(4)]


def test_the_ratio_is_recording_over_nothing() -> None:
    system = SlowToMeasure(fake.SystemConfig("x", "test"), 9)
    found = overhead.ratio(system, fake.FakePair(), BATCHES, repeats=2, seed=0)  # type: ignore[arg-type]
    assert found is not None
    value, low, high = found
    assert low is not None
    assert high is not None
    assert low <= value <= high
    assert value == pytest.approx(1.5, rel=0.15)


def test_every_generation_is_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(fake.FakeSystem, "rehearse", lambda self, requests: seen.append("rehearse"))
    monkeypatch.setattr(fake.FakeSystem, "generate", lambda self, requests, meter: seen.append("generate"))
    system = fake.FakeSystem(fake.SystemConfig("x", "test"), 9)
    assert overhead.ratio(system, fake.FakePair(), BATCHES[:1], repeats=1, seed=0) is None  # type: ignore[arg-type]
    assert seen == ["rehearse", "generate"] * 2


def test_every_step_is_timed_once_either_way() -> None:
    def turns(swapped: bool) -> list[bool]:
        recording, nothing = RecordingMeter(["a"], [99]), NullMeter([99])
        meter = overhead.AlternatingMeter(recording, nothing, random.Random(7), swapped)
        seen = []
        for _ in range(20):
            meter.step([0], [0], [0])
            seen.append(meter.span("verify") is recording.span("verify"))
        assert len(meter.recorded) + len(meter.unrecorded) == 19  # the first follows the prefill
        return seen

    first, second = turns(False), turns(True)
    assert all(a != b for a, b in zip(first, second, strict=True))
    assert 2 < sum(first) < 18


def test_completion_does_not_depend_on_turns() -> None:
    meter = overhead.AlternatingMeter(RecordingMeter(["a"], [3]), NullMeter([3]), random.Random(0), False)
    done = []
    for token in (1, 2, 3):
        done.append(meter.commit(0, [token]))
        meter.step([0], [0], [0])
    assert done == [False, False, True]


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    monkeypatch.chdir(tmp_path)
    fake.install(monkeypatch.setattr)
    arguments = ["overhead", "--config-dir", str(CONF), *SMALL, "systems=[offload,sp_moe]", "output=out"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert overhead.main() == 0
    assert "sp_moe: measuring costs" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "overhead.json").read_text())["rows"]
    assert [row["system"] for row in found] == ["offload", "sp_moe"]
    assert all(row["value"] > 0 for row in found)
