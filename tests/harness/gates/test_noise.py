"""`python -m harness noise` over fakes: two runs of its own, and a floor that `harness.gates.compare` goes by."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from harness.gates import compare, noise
from tests.harness.app import App, make


@pytest.fixture
def calibrate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> App:
    return make(monkeypatch, capsys, tmp_path, noise.main)


def test_the_floor_is_measured_anew_and_used(
    calibrate: App, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate("systems=[offload,sp_moe]").code == 0
    ran = calibrate("systems=[offload,sp_moe]")
    assert (ran.code, "is finished" in ran.out) == (0, False)
    (path,) = Path(".cache/noise").glob("*.json")
    facts = json.loads(path.read_text())
    assert {effect["system"] for effect in facts["effects"]} == {"offload", "sp_moe"}
    assert f"noise floor {facts['floor']:.1%}: {path}" in ran.words
    base, new = (str(next(Path("results/runs/noise", half).glob("*/summary.json")).parent) for half in ("a", "b"))
    monkeypatch.setattr(sys, "argv", ["compare", base, new])
    assert compare.main() == 0  # by the floor that these two made
    assert f"noise floor {facts['floor']:.1%}, from the A/A run on this machine" in capsys.readouterr().out


def test_a_replay_has_no_noise(calibrate: App) -> None:
    ran = calibrate("replay=traces")
    assert (ran.code, "a replay has no noise" in ran.words) == (2, True)
