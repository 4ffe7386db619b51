from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import overhead
from systems.api import Meter, NullMeter, Request
from tests.harness import fake
from tests.harness.app import CONF, SMALL


class SlowToMeasure(fake.FakeSystem):
    """Spends 2 ms with any meter and 2 ms more with one that records."""

    def generate(self, requests: Sequence[Request], meter: Meter) -> None:
        fake.spin(2_000_000 if isinstance(meter, NullMeter) else 4_000_000)


def test_the_ratio_is_recording_over_nothing() -> None:
    config = fake.SystemConfig("x", "test")
    batches = [(Request(str(i), (1,), 4),) for i in range(4)]
    value, low, high = overhead.ratio(SlowToMeasure(config, 9), fake.FakePair(), batches, repeats=2, seed=0)  # type: ignore[arg-type]
    assert low is not None
    assert high is not None
    assert low <= value <= high
    assert value == pytest.approx(2.0, rel=0.3)


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
