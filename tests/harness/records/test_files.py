"""How results are laid out on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.records.files import dump, write_text
from harness.records.published import Unreadable, ensure_same_kind, read_json
from systems.api import BadInput

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


@pytest.mark.parametrize(
    ("there", "replayed"),
    [
        ({"schema": "spmoe-bench/summary/1", "rows": [{"replayed": False}]}, False),
        ({"schema": "spmoe-bench/summary/2", "rows": {"system": ["a", "b"], "replayed": False}}, False),
        ({"schema": "spmoe-bench/summary/2", "rows": {"system": ["a", "b"], "replayed": [True, True]}}, True),
        ({"schema": "spmoe-bench/timeline/1", "replayed": True}, True),
    ],
)
def test_what_was_measured_is_not_replaced_by_what_was_replayed(
    there: dict[str, Any], replayed: bool, tmp_path: Path
) -> None:
    """Nor the reverse, whatever version of the project has written it."""
    file = tmp_path / "summary.json"
    ensure_same_kind(file, replayed)
    write_text(file, dump(there))
    ensure_same_kind(file, replayed)
    with pytest.raises(BadInput, match="keep it with output=null"):
        ensure_same_kind(file, not replayed)


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
