"""Records on disk: the truth that tables, trackers and figures mirror.

One folder per cell, `RUNS/KEY/LABEL`: `config.yaml`, `provenance.json`, `requests.jsonl` and `steps.jsonl`
(written as generations end, Parquet copies at the end), and `summary.json` last: a cell is finished when its
summary exists. Until then the file `UNFINISHED` says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.records import summary_file
from harness.records.files import CannotWrite, Lines, dump, read_lines, write_text
from harness.records.lines import RequestLine, StepLine, plain
from harness.records.summary_file import Row

UNFINISHED = "UNFINISHED"


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

    def add(self, requests: Sequence[RequestLine], steps: Sequence[StepLine]) -> None:
        """Append the lines of one generation."""
        self._requests.add(list(map(plain, requests)))
        self._steps.add(list(map(plain, steps)))

    def finish(self, row: Row) -> None:
        """Make the cell whole."""
        self._close()
        for name in ("requests", "steps"):
            _to_parquet(self.folder / f"{name}.jsonl")
        ended = {"ended": datetime.now(UTC).isoformat(timespec="milliseconds")}
        write_text(self.folder / "provenance.json", dump({**self._provenance, **ended}, indent=1))
        summary_file.write(self.folder, self.folder.parent.name, [row])
        (self.folder / UNFINISHED).unlink(missing_ok=True)

    def abandon(self, reason: str) -> None:
        """Leave the cell marked unfinished; a rerun measures it again."""
        self._close()
        write_text(self.folder / UNFINISHED, f"{reason}\n")

    def _close(self) -> None:
        self._requests.close()
        self._steps.close()


def stored_origin(folder: Path) -> dict[str, Any]:
    """Return the provenance of a cell.

    Raises:
        OSError, json.JSONDecodeError: there is none, or half of one.
    """
    facts: dict[str, Any] = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    return facts


def finished_row(folder: Path) -> Row | None:
    """Return the row of a finished cell; None where it must be measured (again), as after a failure."""
    try:
        stored = json.loads((folder / summary_file.FILE).read_text(encoding="utf-8"))
        if stored.get("schema") != summary_file.SCHEMA:
            return None
        (row,) = summary_file.unpacked(stored)
        return None if row["status"] == "failed" else row
    except (OSError, ValueError, KeyError):
        return None


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
