"""Rows come back from a `summary.json` as they went in, and take few bytes there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.records import summary_file
from harness.records.summary_file import Row, packed, unpacked


def _metric(value: float | None, n: int = 8, **notes: str) -> dict[str, Any]:
    bounds = (None, None) if value is None else (value * 0.875, value * 1.125)
    numbers = {"value": value, "low": bounds[0], "high": bounds[1], "n": n}
    return {**numbers, "unit": "s", "definition": "tpot@2", **notes}


def _row(system: str, metrics: dict[str, Any], **facts: Any) -> Row:
    return {"system": system, "batch": 1, "description": {"slots": [3, 2]}, "status": "ok", **facts, "metrics": metrics}


UNKNOWN = _metric(None, 0, reason="nothing was drafted")
ROWS: dict[str, list[Row]] = {
    "none": [],
    "one": [_row("a", {"tpot": _metric(0.5)})],
    "without metrics": [_row("a", {}, status="unsupported", reason="not installed")],
    "alike": [_row("a", {"tpot": _metric(0.5)}), _row("b", {"tpot": _metric(0.5)})],
    "whole numbers": [_row("a", {"bytes": _metric(100663296)}), _row("b", {"bytes": _metric(3)}, budget_bytes=2**40)],
    "a metric that some lack": [
        _row("a", {"tpot": _metric(0.25)}),
        _row("b", {}),
        _row("c", {"ttft": _metric(2.5), "tpot": _metric(4)}),
    ],
    "one reason": [_row("a", {"tpot": UNKNOWN}), _row("b", {"tpot": _metric(1.5)}), _row("c", {"tpot": UNKNOWN})],
    "two reasons": [
        _row("a", {"tpot": UNKNOWN}),
        _row("b", {"tpot": _metric(None, 0, reason="other")}),
        _row("c", {}),
        _row("d", {"tpot": _metric(1.5, over="a")}),
    ],
    "a reason and none": [_row("a", {"tpot": UNKNOWN}), _row("b", {"tpot": _metric(None, 0)})],
    "two definitions": [_row("a", {"gap": _metric(1.5)}), _row("b", {"gap": _metric(2.5) | {"definition": "gap@1"}})],
    "facts that some lack": [_row("a", {}, reference="eager"), _row("b", {}, layer_drift=1.25, lossless=False)],
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
def test_rows_come_back(rows: list[Row], tmp_path: Path) -> None:
    summary_file.write(tmp_path, "k", rows)
    assert unpacked(json.loads((tmp_path / "summary.json").read_text())) == rows


def test_what_all_rows_have_stands_once_and_a_metric_is_a_line(tmp_path: Path) -> None:
    summary_file.write(tmp_path, "k", ROWS["one reason"])
    metric = (
        '{"value":[null,1.5,null],"low":[null,1.3125,null],"high":[null,1.6875,null],"n":[0,8,0],"unit":"s",'
        '"definition":"tpot@2","reason":"nothing was drafted"}'
    )
    lines = (tmp_path / "summary.json").read_text().splitlines()
    assert f'  "tpot": {metric}' in lines
    assert '  "batch": 1,' in lines


def test_columns_of_a_metric_are_those_of_the_rows_that_have_it() -> None:
    tpot = packed("k", ROWS["a metric that some lack"])["metrics"]["tpot"]
    assert (tpot["row"], tpot["value"]) == ([0, 2], [0.25, 4])


@pytest.mark.parametrize("broken", [{"value": [1.0]}, {"row": [7], "value": [1.0]}, {"value": [1, 2], "n": [8]}])
def test_columns_that_do_not_fit_are_refused(broken: dict[str, Any]) -> None:
    stored = packed("k", ROWS["alike"])
    stored["metrics"]["tpot"] = broken
    with pytest.raises((ValueError, IndexError)):
        unpacked(stored)
