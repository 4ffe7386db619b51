"""`summary.json`: rows as columns, one per fact and per number of a metric, so that nothing is said once per row.

    {"schema": "spmoe-bench/summary/2",
     "key": "0123456789ab",
     "rows": {"system": ["offload", "sp_moe"], "hardware": "coarse", ...},
     "metrics": {"tpot": {"value": [0.17957, null], "n": [20, 0], "unit": "s", "reason": "no token", ...}, ...}}

A column is a list, or stands once where all rows have the same. A metric that some rows lack says in `row` which ones
have it, counted from 0; its `reason` is that of the rows whose value is null. A fact that is null is one that the row
lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.records.files import dump, write_text

FILE = "summary.json"
SCHEMA = "spmoe-bench/summary/2"
NUMBERS = ("value", "low", "high")
"""Fields of a metric that an entry has even where they are null."""
Row = dict[str, Any]
"""Facts of a system by name, and `metrics`: an entry per metric, see `harness.metrics.base.Value.row`."""
Columns = dict[str, Any]


class Broken(ValueError):
    """What calls itself a summary lacks a part, or has columns that do not fit each other."""


def write(folder: Path, key: str, rows: Sequence[Row]) -> None:
    """Write the summary of a folder; `key` names the comparison that the rows come from.

    Raises:
        CannotWrite: the disk is full or the folder read-only.
    """
    write_text(folder / FILE, dump(packed(key, rows), indent=1, depth=2))


def packed(key: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of a `summary.json`; its metrics stand as in the row that has most of them."""
    facts = [{name: fact for name, fact in row.items() if name != "metrics"} for row in rows]
    fullest_first = sorted((row["metrics"] for row in rows), key=len, reverse=True)
    metrics = dict.fromkeys(name for entries in fullest_first for name in entries)
    return {
        "schema": SCHEMA,
        "key": key,
        "rows": _columns(facts),
        "metrics": {name: _metric([row["metrics"].get(name) for row in rows]) for name in metrics},
    }


def unpacked(stored: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a `summary.json`.

    Raises:
        Broken: a part is missing, or columns differ in length.
    """
    try:
        return _rows(stored)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Broken(repr(error)) from error


def _rows(stored: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = [{**facts, "metrics": {}} for facts in _entries(stored["rows"])]
    for name, metric in stored["metrics"].items():
        columns = dict(metric)
        places = columns.pop("row", range(len(rows)))
        for place, entry in zip(places, _entries(columns), strict=True):
            rows[place]["metrics"][name] = entry
    return rows


def _metric(entries: Sequence[Mapping[str, Any] | None]) -> Columns:
    """Return the columns of a metric from its entries by row, None where a row lacks it."""
    held = {place: entry for place, entry in enumerate(entries) if entry is not None}
    places = {} if len(held) == len(entries) else {"row": list(held)}
    columns = _columns(list(held.values()))
    reasons = {entry.get("reason") for entry in held.values() if entry["value"] is None}
    shared = {"reason": reasons.pop()} if len(reasons) == 1 and None not in reasons else {}
    return places | columns | shared


def _columns(entries: Sequence[Mapping[str, Any]]) -> Columns:
    """Return a list for the first field, which tells how many entries there are, and what is needed for the others."""
    names = dict.fromkeys(name for entry in entries for name in entry)
    columns = {name: [entry.get(name) for entry in entries] for name in names}
    return {name: _once(column) if place else column for place, (name, column) in enumerate(columns.items())}


def _once(column: list[Any]) -> Any:
    """Return the plain value that all have, or else the column."""
    first = column[0]
    return column if isinstance(first, list | tuple | dict) or any(value != first for value in column) else first


def _entries(columns: Columns) -> list[dict[str, Any]]:
    """Return the entries that columns were made from."""
    count = max((len(column) for column in columns.values() if isinstance(column, list)), default=0)
    lists = [column if isinstance(column, list) else [column] * count for column in columns.values()]
    entries = [dict(zip(columns, values, strict=True)) for values in zip(*lists, strict=True)]
    return [{name: value for name, value in entry.items() if _holds(entry, name)} for entry in entries]


def _holds(entry: Mapping[str, Any], name: str) -> bool:
    """Whether a field is one of the entry's own, not one that its column has for others."""
    if name == "reason" and entry.get("value") is not None:
        return False
    return entry[name] is not None or name in NUMBERS
