"""One table of a sweep: a line per cell and metric, with what was swept in columns of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.records import summary_file
from harness.records.files import CannotWrite, ensure_writable
from harness.records.published import read
from harness.records.summary_file import Row
from harness.sweeps.jobs import Job

FILE = "cells.parquet"
FACTS = (
    "system", "status", "reason", "error", "model", "dataset", "hardware", "emulated", "replayed", "batch",
    "budget_bytes", "lossless",
)  # fmt: skip
NUMBERS = ("metric", "definition", "unit", "value", "low", "high", "n")


def lines(jobs: Sequence[Job], runs: str) -> list[dict[str, Any]]:
    """Return the table of all jobs that have cells. A cell without any metric has one line, its `metric` null.

    `p_*` are the typed keys that differ among the jobs; numbers where all values are numbers.
    """
    at = dict(zip((job.number for job in jobs), points(jobs), strict=True))
    return [
        {"job": job.number, "key": job.key, **at[job.number], **line}
        for job in jobs
        for row in rows_of(job, runs)
        for line in _of_row(row)
    ]


def points(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Return the values of what was swept by job, as in the table."""
    typed = [dict(_split(override) for override in job.overrides) for job in jobs]
    keys = dict.fromkeys(key for values in typed for key in values)
    swept = [key for key in keys if len({values.get(key) for values in typed}) > 1]
    columns = {key: _as_numbers([values.get(key) for values in typed]) for key in swept}
    return [{f"p_{key}": columns[key][place] for key in swept} for place in range(len(jobs))]


def rows_of(job: Job, runs: str) -> list[Row]:
    """Return the rows of a job's cells."""
    if job.state != "finished":
        return job.rows
    return read(Path(runs) / str(job.key) / summary_file.FILE, "", "the same command").rows


def write(table: Sequence[dict[str, Any]], folder: Path) -> Path:
    """Write the table as Parquet at once, and return its path.

    Raises:
        CannotWrite: the disk is full or the folder read-only.
    """
    from pyarrow import Table
    from pyarrow.parquet import write_table

    ensure_writable(folder)
    path, temporary = folder / FILE, folder / f".{FILE}.tmp"
    try:
        write_table(Table.from_pylist(table), temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CannotWrite(path, error) from error
    return path


def _of_row(row: Row) -> Iterator[dict[str, Any]]:
    facts = {name: row.get(name) for name in FACTS}
    for metric, entry in row["metrics"].items() or [(None, {})]:
        numbers = {name: entry.get(name) for name in NUMBERS} | {"metric": metric}
        yield facts | numbers | {"unknown_because": entry.get("reason")}


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value


def _as_numbers(values: Sequence[str | None]) -> Sequence[Any]:
    try:
        return [None if value is None else float(value) for value in values]
    except ValueError:
        return values
