"""Result sets as they lie on disk: a folder of cells, each with its row, its origin and one line per request."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.metrics import definitions
from harness.metrics.base import Parts as Formula
from harness.metrics.intervals import Pair
from harness.records.cells import UNFINISHED
from harness.records.generation import Generation
from harness.records.lines import RequestLine, StepLine, generations, not_finite, read_requests, read_steps
from harness.records.summary_file import FILE, SCHEMA, Broken, Row, unpacked
from systems.api import BadInput

Prompts = tuple[str, ...]
"""Ids of the prompts of a batch."""
Parts = Mapping[Prompts, Pair]
"""Numerator and denominator of a metric by batch of prompts, repeats added up."""


class CannotCompare(Exception):
    """The two sets, or a system of them, do not answer the question; the message says why."""


@dataclass(frozen=True)
class Cell:
    """One system's records: its row of `summary.json`, its provenance, the parts of every metric compared, and what
    is missing or no number in them."""

    row: Row
    origin: Mapping[str, Any]
    parts: Mapping[str, Parts]
    gaps: Sequence[str] = ()


def read(folder: Path) -> dict[str, Cell]:
    """Read a result set: `results/runs/KEY`, or a published folder whose cells are still in `runs/` beside it.

    Raises:
        BadInput: no such folder, or a file in it that is not a record.
        CannotCompare: records of another schema, unfinished cells, or no records by request.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder; a result set is e.g. results/runs/KEY")
    summary = _json(folder / FILE)
    if not isinstance(summary, dict) or "schema" not in summary:
        raise BadInput(f"{folder / FILE} is no summary of a run; a result set is e.g. results/runs/KEY")
    if summary["schema"] != SCHEMA:
        raise CannotCompare(f"{folder} has records of schema {summary['schema']}, {SCHEMA} is read; measure again")
    try:
        return {row["system"]: _cell(row, home(folder, summary["key"], row["system"])) for row in unpacked(summary)}
    except (Broken, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{folder} has a broken record ({error!r}); measure again") from error


def home(folder: Path, key: str, label: str) -> Path:
    """Return the folder of a cell.

    Raises:
        CannotCompare: it is unfinished, or not there.
    """
    for place in (folder / label, folder.parent / "runs" / key / label):
        if (place / UNFINISHED).exists():
            raise CannotCompare(f"{place} is unfinished; the command that began it finishes it")
        if (place / "requests.jsonl").is_file():
            return place
    raise CannotCompare(f"{folder} has no records by request of {label}; compare results/runs/KEY, not a summary")


def _cell(row: Row, home: Path) -> Cell:
    requests, steps = read_requests(home), read_steps(home)
    odd = not_finite([*requests, *steps])
    gaps = [f"{name} is no finite number in {count} records" for name, count in odd.items()]
    taken = [] if gaps else generations(requests, steps)
    parts = {name: _sums(taken, item.parts) for name, item in definitions().items() if item.gated and item.parts}
    parts["exact_match"] = _exact(requests)
    origin = _json(home / "provenance.json")
    return Cell(row, origin, parts, (*_missing(requests, origin), *_missing_steps(requests, steps), *gaps))


def _sums(taken: Sequence[Generation], formula: Formula) -> dict[Prompts, Pair]:
    """Return numerator and denominator of a metric by the prompts that ran together, repeats added up."""
    sums: dict[Prompts, Pair] = {}
    for generation in taken:
        prompts = tuple(row.id for row in generation.rows)
        _add(sums, prompts, *formula(generation))
    return sums


def _exact(requests: Sequence[RequestLine]) -> dict[Prompts, Pair]:
    """Exact outputs and judged ones; a record holds the verdict, not the reference that it was judged by."""
    ids: dict[tuple[int, int], list[str]] = defaultdict(list)
    for line in requests:
        ids[line.repeat, line.batch].append(line.id)
    sums: dict[Prompts, Pair] = {}
    for line in requests:
        if line.exact_match is not None:
            _add(sums, tuple(ids[line.repeat, line.batch]), line.exact_match, 1)
    return sums


def _add(sums: dict[Prompts, Pair], prompts: Prompts, up: float, down: float) -> None:
    before = sums.get(prompts, (0.0, 0.0))
    sums[prompts] = (before[0] + up, before[1] + down)


def named(ids: Sequence[str]) -> str:
    """Name a few prompts, and say how many there are besides."""
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


def _missing(requests: Sequence[RequestLine], origin: Mapping[str, Any]) -> Iterator[str]:
    """Say of which prompts records are missing: each has one per repeat."""
    found = Counter(line.id for line in requests)
    wanted = origin.get("repeats", max(found.values(), default=1))
    expected = dict.fromkeys((*origin["dataset"]["prompts"], *found)) if "dataset" in origin else found
    if few := [id for id in expected if found[id] < wanted]:
        lost = sum(wanted - found[id] for id in few)
        yield f"{lost} of {wanted * len(expected)} records are missing, of {named(few)},"
    if twice := [id for id in found if found[id] > wanted]:
        yield f"there are more than {wanted} records of {named(twice)}"


def _missing_steps(requests: Sequence[RequestLine], steps: Sequence[StepLine]) -> Iterator[str]:
    """Say of which generations steps are missing: they are numbered, and each has some where any has."""
    numbers: dict[tuple[int, int], set[int]] = {(line.repeat, line.batch): set() for line in requests}
    seen = set[tuple[int, int]]()
    for line in steps:
        seen.add(place := (line.repeat, line.batch))
        if line.is_step and line.step is not None:
            numbers.setdefault(place, set()).add(line.step)
    lost = [
        place for place, found in numbers.items() if found != set(range(len(found))) or (steps and place not in seen)
    ]
    if lost:
        yield f"steps of {len(lost)} of {len(numbers)} generations are missing"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); a result set is e.g. results/runs/KEY") from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON ({error}); it is half written or no record; measure again") from error
