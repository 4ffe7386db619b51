"""How results are laid out on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.records.files import dump, write_text
from harness.records.published import Unreadable, read_json

VALUES: list[Any] = [
    {},
    [],
    None,
    {"rows": [{"tpot": {"value": 0.1, "low": None}}, {"a": []}], "key": "ä\n\"", "empty": {}, "n": [1, 2.5, True]},
    {3: {"x": (1, 2)}, True: [[1], []], None: 1.5},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("indent", [None, 1, 2])
@pytest.mark.parametrize("depth", [0, 1, 99])
def test_what_is_laid_out_reads_back_as_what_json_writes(value: Any, indent: int | None, depth: int) -> None:
    assert json.loads(dump(value, indent, depth)) == json.loads(json.dumps(value))


def test_what_is_compressed_reads_back_and_is_refused_where_it_is_spoilt(tmp_path: Path) -> None:
    file = tmp_path / "timeline.json.gz"
    write_text(file, dump({"schema": "s", "events": list(range(99))}))
    assert read_json(file, "s", "it")["events"] == list(range(99))
    whole = file.read_bytes()
    for spoilt in (whole[: len(whole) // 2], b"{}", whole[:12] + bytes(9) + whole[21:]):
        file.write_bytes(spoilt)
        with pytest.raises(Unreadable, match=r"half-written or no JSON .*make it again with: it"):
            read_json(file, "s", "it")


def test_a_metric_is_a_line() -> None:
    laid_out = dump({"key": "k", "metrics": {"tpot": {"value": 1.5, "n": 2}, "ttft": {"value": None}}}, indent=1)
    assert laid_out.splitlines() == [
        "{",
        ' "key": "k",',
        ' "metrics": {',
        '  "tpot": {"value":1.5,"n":2},',
        '  "ttft": {"value":null}',
        " }",
        "}",
    ]


@pytest.mark.parametrize("indent", [None, 1])
def test_numbers_that_are_none_are_refused(indent: int | None) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump({"rows": [{"value": float("nan")}]}, indent)
