from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.predict import fidelity
from tests.harness.figures.made import publish


def row(system: str, tpot: float | None, hardware: str = "fine", **others: Any) -> dict[str, Any]:
    spread = 0.003 if tpot is None or tpot < 0.02 else 0.006
    interval = {"value": tpot, "low": tpot and tpot - spread, "high": tpot and tpot + spread}
    metrics = {"tpot": interval, "bytes_per_token": {"value": 2**20}, "hit_rate": {"value": 0.5}}
    return {
        "system": system,
        "hardware": hardware,
        "budget_bytes": 2**20,
        "batch": 1,
        "dataset": "d",
        "metrics": metrics,
    } | others


LIVE = [row("a", 0.010), row("b", 0.020), row("c", 0.030), row("a", 0.1, "coarse"), row("d", None), row("e", 0.01)]
REPLAYED = [row("a", 0.011), row("b", 0.016), row("c", 0.015), row("a", 0.1, "coarse"), row("d", 0.01), row("f", 0.01)]


def test_errors_order_and_misses_by_hand() -> None:
    """Errors +10 %, -20 %, -50 % and 0; of the pairs a-b, a-c, b-c the last is turned round: tau = 1/3.

    Intervals tell a from the others but not b from c: of the pairs told apart all are in order.
    """
    found = fidelity.matches(LIVE, REPLAYED)
    assert [(match.system, match.hardware) for match in found] == [
        ("a", "fine"),
        ("b", "fine"),
        ("c", "fine"),
        ("a", "coarse"),
    ]
    facts = fidelity.report(found)
    fine, coarse = facts["profiles"]["fine, 1.0 MiB"], facts["profiles"]["coarse, 1.0 MiB"]
    assert facts["mape"] == pytest.approx(0.2)
    assert fine["mape"] == pytest.approx(0.8 / 3)
    assert fine["kendall_tau"] == facts["kendall_tau"] == pytest.approx(1 / 3)
    assert fine["kendall_tau_apart"] == 1.0
    assert fine["misses"] == ["b", "c"]
    nothing = {"kendall_tau": None, "kendall_tau_apart": None, "misses": []}
    assert coarse == {"mape": 0.0, "mape_without_drift": 0.0, "drift": 1.0, **nothing}
    assert fine["drift"] == pytest.approx(1.25)  # the median of 1/1.1, 1.25 and 2
    assert fine["mape_without_drift"] == pytest.approx((0.375 + 0.0 + 0.375) / 3)


def test_systems_are_ordered_within_a_budget_only() -> None:
    """The larger budget is predicted slower than the smaller one, which is not an order of systems."""
    live = [row("a", 0.02), row("a", 0.01, budget_bytes=2**21)]
    replayed = [row("a", 0.01), row("a", 0.02, budget_bytes=2**21)]
    assert fidelity.report(fidelity.matches(live, replayed))["kendall_tau"] is None


def test_other_budgets_are_not_compared() -> None:
    assert fidelity.matches([row("a", 0.01)], [row("a", 0.01, budget_bytes=8)]) == []


def test_the_command_writes_beside_the_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name, rows in (("live", LIVE), ("replayed", REPLAYED)):
        publish(tmp_path / name, rows)
    monkeypatch.setattr(sys, "argv", ["fidelity", str(tmp_path / "live"), str(tmp_path / "replayed")])
    assert fidelity.main() == 0
    assert "beyond 15%: b, c" in " ".join(capsys.readouterr().out.split())
    assert "| b | 20.00 | 16.00 | -20.0% |" in (tmp_path / "replayed" / "fidelity.md").read_text()
    assert json.loads((tmp_path / "replayed" / "fidelity.json").read_text())["mape"] == pytest.approx(0.2)
    monkeypatch.setattr(sys, "argv", ["fidelity", str(tmp_path / "live"), str(tmp_path / "nowhere")])
    assert fidelity.main() == 2
    assert "nowhere/summary.json cannot be read" in capsys.readouterr().err
