from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import fidelity


def row(system: str, tpot: float | None, hardware: str = "fine", **others: Any) -> dict[str, Any]:
    metrics = {"tpot": {"value": tpot}, "bytes_per_token": {"value": 2**20}, "hit_rate": {"value": 0.5}}
    return {
        "system": system,
        "hardware": hardware,
        "budget_bytes": 9,
        "batch": 1,
        "dataset": "d",
        "metrics": metrics,
    } | others


LIVE = [row("a", 0.010), row("b", 0.020), row("c", 0.030), row("a", 0.1, "coarse"), row("d", None), row("e", 0.01)]
REPLAYED = [row("a", 0.011), row("b", 0.016), row("c", 0.015), row("a", 0.1, "coarse"), row("d", 0.01), row("f", 0.01)]


def test_errors_order_and_misses_by_hand() -> None:
    """Errors +10 %, -20 %, -50 % and 0; of the pairs a-b, a-c, b-c the last is turned round: tau = 1/3."""
    found = fidelity.matches(LIVE, REPLAYED)
    assert [(match.system, match.hardware) for match in found] == [
        ("a", "fine"),
        ("b", "fine"),
        ("c", "fine"),
        ("a", "coarse"),
    ]
    facts = fidelity.report(found)
    assert facts["mape"] == pytest.approx(0.2)
    assert facts["profiles"]["fine"]["mape"] == pytest.approx(0.8 / 3)
    assert facts["profiles"]["fine"]["kendall_tau"] == pytest.approx(1 / 3)
    assert facts["profiles"]["fine"]["misses"] == ["b", "c"]
    assert facts["profiles"]["coarse"] == {"mape": 0.0, "kendall_tau": 1.0, "misses": []}


def test_other_budgets_are_not_compared() -> None:
    assert fidelity.matches([row("a", 0.01)], [row("a", 0.01, budget_bytes=8)]) == []


def test_the_command_writes_beside_the_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name, rows in (("live", LIVE), ("replayed", REPLAYED)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(sys, "argv", ["fidelity", str(tmp_path / "live"), str(tmp_path / "replayed")])
    assert fidelity.main() == 0
    assert "beyond 15%: b, c" in capsys.readouterr().out
    assert json.loads((tmp_path / "replayed" / "fidelity.json").read_text())["mape"] == pytest.approx(0.2)
    monkeypatch.setattr(sys, "argv", ["fidelity", str(tmp_path / "live"), str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="is missing"):
        fidelity.main()
