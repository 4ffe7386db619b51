"""How results are laid out on disk."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.records.files import dump

VALUES: list[Any] = [
    {},
    [],
    None,
    {"rows": [{"tpot": {"value": 0.1, "low": None}}, {"a": []}], "key": "ä\n\"", "empty": {}, "n": [1, 2.5, True]},
    {3: {"x": (1, 2)}, True: [[1], []], None: 1.5},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("indent", [None, 1, 2])
def test_what_is_laid_out_reads_back_as_what_json_writes(value: Any, indent: int | None) -> None:
    assert json.loads(dump(value, indent)) == json.loads(json.dumps(value))


def test_a_metric_is_a_line() -> None:
    laid_out = dump({"key": "k", "metrics": {"tpot": {"value": 1.5, "n": 2}, "ttft": {"value": None}}}, indent=1)
    assert laid_out.splitlines() == [
        "{",
        ' "key": "k",',
        ' "metrics": {',
        '  "tpot": {"value": 1.5, "n": 2},',
        '  "ttft": {"value": null}',
        " }",
        "}",
    ]


@pytest.mark.parametrize("indent", [None, 1])
def test_numbers_that_are_none_are_refused(indent: int | None) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump({"rows": [{"value": float("nan")}]}, indent)
