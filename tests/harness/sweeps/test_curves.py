from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.bench.run import Outcome
from harness.config.bench import BenchConfig, DatasetConfig, HardwareConfig
from harness.sweeps import curves
from systems.api import ModelConfig, SystemConfig

MODEL = ModelConfig("m", "t", None, "t")


def _outcome(budget: float, draft_length: int, labels: str = "ab", status: str = "ok") -> Outcome:
    systems = {x: SystemConfig(x, "test", drafter={"part": "model", "draft_length": draft_length}) for x in labels}
    config = BenchConfig(systems, MODEL, DatasetConfig("d"), HardwareConfig("h", "test"), budget=budget)
    rows: list[dict[str, Any]] = [
        {
            "system": x,
            "status": status,
            "lossless": x != "a",
            "metrics": {"tpot": {"value": budget * draft_length / 1e3}},
        }
        for x in labels
    ]
    return Outcome(config, "key", rows, {x: Path(x) for x in labels})


def test_a_curve_has_a_line_per_system_and_a_column_per_point() -> None:
    tpot, hits = curves.curves([_outcome(0.1, 2), _outcome(0.5, 2, status="noisy")])
    assert (tpot.title, tpot.columns) == ("TPOT ms over budget", ("system", "0.1", "0.5"))
    assert tpot.lines == [("b", "0.20", "1.00*"), ("a (lossy)", "0.20", "1.00*")]
    assert hits.lines[0] == ("b", "-", "-*")


def test_options_of_systems_name_the_points_where_nothing_else_differs() -> None:
    tpot, _ = curves.curves([_outcome(0.1, length) for length in (1, 2, 3)])
    assert (tpot.title, tpot.columns[1:]) == ("TPOT ms over draft_length", ("1", "2", "3"))


def test_a_system_that_a_job_did_not_have_is_a_dash() -> None:
    tpot, _ = curves.curves([_outcome(0.1, 2), _outcome(0.5, 2, labels="b")])
    assert {line[0]: line[1:] for line in tpot.lines} == {"b": ("0.20", "1.00"), "a (lossy)": ("0.20", "-")}


def test_a_sweep_over_systems_alone_has_no_curve() -> None:
    assert curves.curves([_outcome(0.1, 2, labels="a"), _outcome(0.1, 2, labels="b")]) == []
