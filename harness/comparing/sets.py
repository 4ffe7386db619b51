"""Result sets as they lie on disk: a folder of cells, each with its row, its origin and one line per request."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.files import read_lines
from harness.metrics.intervals import Pair
from harness.records import SCHEMA, UNFINISHED, Row
from systems.api import BadInput

Prompts = tuple[str, ...]
"""Ids of the prompts of a batch."""
Parts = Mapping[Prompts, Pair]
"""Numerator and denominator of a metric by batch of prompts, repeats added up."""


class CannotCompare(Exception):
    """The two sets, or a system of them, do not answer the question; the message says why."""


@dataclass(frozen=True)
class Cell:
    """One system's records: its row of `summary.json`, its provenance, and the parts of every metric compared."""

    row: Row
    origin: Mapping[str, Any]
    parts: Mapping[str, Parts]


def read(folder: Path) -> dict[str, Cell]:
    """Read a result set: `results/runs/KEY`, or a published folder whose cells are still in `runs/` beside it.

    Raises:
        BadInput: no such folder, or a file in it that is not a record.
        CannotCompare: records of another schema, unfinished cells, or no records by request.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder; a result set is e.g. results/runs/KEY")
    summary = _json(folder / "summary.json")
    if not isinstance(summary, dict) or "schema" not in summary:
        raise BadInput(f"{folder / 'summary.json'} is no summary of a run; a result set is e.g. results/runs/KEY")
    if summary["schema"] != SCHEMA:
        raise CannotCompare(f"{folder} has records of schema {summary['schema']}, {SCHEMA} is read; measure again")
    try:
        return {row["system"]: _cell(row, _home(folder, summary["key"], row["system"])) for row in summary["rows"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{folder} has a broken record ({error!r}); measure again") from error


def _home(folder: Path, key: str, label: str) -> Path:
    """Return the folder of a cell."""
    for home in (folder / label, folder.parent / "runs" / key / label):
        if (home / UNFINISHED).exists():
            raise CannotCompare(f"{home} is unfinished; the command that began it finishes it")
        if (home / "requests.jsonl").is_file():
            return home
    raise CannotCompare(f"{folder} has no records by request of {label}; compare results/runs/KEY, not a summary")


def _cell(row: Row, home: Path) -> Cell:
    requests, steps = (list(read_lines(home / f"{name}.jsonl")) for name in ("requests", "steps"))
    ids: dict[tuple[int, int], list[str]] = defaultdict(list)
    for line in requests:
        ids[line["repeat"], line["batch"]].append(line["id"])
    parts: dict[str, dict[Prompts, Pair]] = defaultdict(dict)

    def add(metric: str, line: Mapping[str, Any], up: float, down: float) -> None:
        prompts = tuple(ids[line["repeat"], line["batch"]])
        before = parts[metric].get(prompts, (0.0, 0.0))
        parts[metric][prompts] = (before[0] + up, before[1] + down)

    for line in requests:
        if line["ttft"] is not None:
            add("ttft", line, line["ttft"], 1)
        if line["exact_match"] is not None:
            add("exact_match", line, line["exact_match"], 1)
        add("tpot", line, line["decode_seconds"], max(line["n"] - 1, 0))
        add("acceptance_rate", line, line["accepted"], line["drafted"])
        add("bytes_per_token", line, 0, max(line["n"] - 1, 0))
    for line in steps:
        if line["phase"] == "decode":
            add("hit_rate", line, line["resident"] + line["on_time"], line["needed"])
            add("bytes_per_token", line, line["moved_bytes"], 0)
    return Cell(row, _json(home / "provenance.json"), parts)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); a result set is e.g. results/runs/KEY") from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON ({error}); it is half written or no record; measure again") from error
