"""Records on disk: the truth that tables, trackers and figures mirror.

One folder per cell, `RUNS/KEY/LABEL`: `config.yaml`, `provenance.json`, `requests.jsonl` and `steps.jsonl`
(written as generations end, Parquet copies at the end), and `summary.json` last: a cell is finished when its
summary exists. Until then the file `UNFINISHED` says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.records.files import CannotWrite, Lines, dump, read_lines, write_text
from harness.records.generation import BYTES, COUNTS, NEEDS, Generation, first_divergence, merge, needs
from systems.api import Request, Traffic

SCHEMA = "spmoe-bench/summary/1"
UNFINISHED = "UNFINISHED"
Row = dict[str, Any]


class CellWriter:
    """The records of one cell while it is measured."""

    def __init__(self, folder: Path, config: str, provenance: Mapping[str, Any]) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for stale in folder.iterdir():
                stale.unlink()
        except OSError as error:
            raise CannotWrite(folder, error) from error
        write_text(folder / UNFINISHED, "measuring\n")
        write_text(folder / "config.yaml", config)
        write_text(folder / "provenance.json", dump(provenance, indent=1))
        self._provenance = provenance
        self._requests = Lines(folder / "requests.jsonl")
        self._steps = Lines(folder / "steps.jsonl")

    def add(self, requests: Sequence[Row], steps: Sequence[Row]) -> None:
        """Append the lines of one generation."""
        self._requests.add(requests)
        self._steps.add(steps)

    def finish(self, row: Row) -> None:
        """Make the cell whole."""
        self._close()
        for name in ("requests", "steps"):
            _to_parquet(self.folder / f"{name}.jsonl")
        ended = {"ended": datetime.now(UTC).isoformat(timespec="milliseconds")}
        write_text(self.folder / "provenance.json", dump({**self._provenance, **ended}, indent=1))
        write_text(self.folder / "summary.json", dump(summary(self.folder.parent.name, [row]), indent=1))
        (self.folder / UNFINISHED).unlink(missing_ok=True)

    def abandon(self, reason: str) -> None:
        """Leave the cell marked unfinished; a rerun measures it again."""
        self._close()
        write_text(self.folder / UNFINISHED, f"{reason}\n")

    def _close(self) -> None:
        self._requests.close()
        self._steps.close()


def summary(key: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of a `summary.json`; `key` names the comparison that the rows come from."""
    return {"schema": SCHEMA, "key": key, "rows": list(rows)}


def finished_row(folder: Path) -> Row | None:
    """Return the row of a finished cell; None where it must be measured (again), as after a failure."""
    try:
        stored = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    if stored.get("schema") != SCHEMA or stored["rows"][0]["status"] == "failed":
        return None
    row: Row = stored["rows"][0]
    return row


def stored_origin(folder: Path) -> dict[str, Any]:
    """Return the provenance of a cell on disk."""
    origin: dict[str, Any] = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    return origin


def stored_sides(folder: Path) -> dict[int, tuple[float, float]]:
    """Return decode seconds and tokens by batch of a cell on disk, as speedups need them."""
    sides: dict[int, tuple[float, float]] = {}
    for line in read_lines(folder / "requests.jsonl"):
        if line["decode_tokens"]:
            seconds, tokens = sides.get(line["batch"], (0.0, 0.0))
            sides[line["batch"]] = (seconds + line["decode_seconds"], tokens + line["decode_tokens"])
    return sides


def request_lines(
    generation: Generation,
    requests: Sequence[Request],
    reference: Mapping[str, Sequence[int]] | None,
    decode: Callable[[Sequence[int], Sequence[int]], str],
) -> list[Row]:
    """Return one line per request: its tokens, when they came, and whether they are the reference's."""
    lines: list[Row] = []
    for index, (row, request) in enumerate(zip(generation.rows, requests, strict=True)):
        drafts = [(d, a) for i, d, a in generation.accepted_by_row() if i == index]
        divergence = None if reference is None else first_divergence(row.tokens, reference[row.id])
        lines.append(
            {
                "id": row.id,
                "repeat": generation.repeat,
                "batch": generation.batch,
                "row": index,
                "order": generation.order,
                "seed": request.sampling.seed if request.sampling.temperature else None,
                "prompt_tokens": len(request.prompt),
                "n": len(row.tokens),
                "ttft": (row.commits[0].time - generation.started) / 1e9 if row.commits else None,
                "decode_tokens": row.decode_tokens,
                "decode_seconds": row.decode_time / 1e9,
                "finish": "stop" if row.stopped else "length",
                "drafted": sum(drafted for drafted, _ in drafts),
                "accepted": sum(accepted for _, accepted in drafts),
                "exact_match": None if reference is None else divergence is None,
                "first_divergence": divergence,
                "commits": [[(commit.time - generation.started) / 1e9, commit.kept] for commit in row.commits],
                "tokens": row.tokens,
                "text": decode(row.tokens, request.prompt),
            }
        )
    return lines


def step_lines(generation: Generation) -> Iterator[Row]:
    """Yield one line per step with the traffic reported during it, then what was reported outside of steps:
    prefills (step 0) and what settles the account at the end (no step).
    """
    head = {"repeat": generation.repeat, "batch": generation.batch}
    for index, step in enumerate(generation.steps):
        traffic = [r.traffic for r in generation.reports if r.steps == index and r.traffic.phase == "decode"]
        yield {**head, "phase": "decode", "step": index, **step._asdict(), **_traffic(traffic)}
    rest = [
        report
        for report in generation.reports
        if report.traffic.phase == "prefill" or report.steps >= len(generation.steps)
    ]
    for report in rest:
        step_of = None if report.traffic.phase == "decode" else 0
        yield {**head, "phase": report.traffic.phase, "step": step_of, **_traffic([report.traffic])}


def _traffic(reports: Sequence[Traffic]) -> Row:
    total = merge(reports)
    layers = [[getattr(layer, name) for name in NEEDS] for layer in total.layers]
    counts = {name: getattr(total, name) for name in (*BYTES, *COUNTS, "link_busy")}
    return {**needs(total), **counts, "layers": layers}


def _to_parquet(path: Path) -> None:
    """Copy a JSONL file to Parquet beside it, where pyarrow is installed; the JSONL stays the record."""
    try:
        from pyarrow import Table
        from pyarrow.parquet import write_table
    except ImportError:
        return
    rows = list(read_lines(path))
    if not rows:
        return
    temporary = path.with_suffix(".parquet.tmp")
    try:
        write_table(Table.from_pylist(rows), temporary)
        temporary.replace(path.with_suffix(".parquet"))
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CannotWrite(temporary, error) from error
