"""Result sets as figures and reports read them: a folder with a `summary.json`, or one such folder per swept point.

What is read was written by an earlier run, perhaps by an earlier version or not to the end: a file that cannot be
trusted is refused by name, with the command that makes it again.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.records.provenance import file_hash
from harness.records.summary_file import FILE, SCHEMA, Broken, Row, unpacked
from systems.api import BadInput


class Missing(BadInput):
    """Records that have not been made yet, or not all of them."""


class Unreadable(BadInput):
    """Records that were not written to the end, or that another version wrote."""


@dataclass(frozen=True)
class Summary:
    """One `summary.json` with the provenance beside it.

    Attributes:
        point: the folder's name within a sweep, empty where nothing was swept.
        key: of the run, or of several joined by `+`.
        digest: start of the file's SHA-256.
    """

    file: Path
    point: str
    key: str
    rows: list[Row]
    digest: str
    origin: dict[str, Any] = field(repr=False)

    @property
    def origins(self) -> list[dict[str, Any]]:
        """The provenance of each comparison in it: several where a suite went through hardware profiles."""
        return [self.origin] if "key" in self.origin else list(self.origin.values())

    @property
    def commits(self) -> list[str]:
        """The commits that were measured, marked where the tree had other changes."""
        return list(dict.fromkeys(map(commit, self.origins)))


def read_set(folder: Path, remedy: str) -> list[Summary]:
    """Return the summaries of a result set in the order of its points.

    Args:
        remedy: the command that makes the records, for the error.

    Raises:
        Missing: there are none.
        Unreadable: see `read`.
    """
    if (folder / FILE).is_file():
        return [read(folder / FILE, "", remedy)]
    files = sorted(folder.glob(f"*/{FILE}"), key=lambda file: natural(file.parent.name))
    if not files:
        raise Missing(f"{folder} holds no {FILE}; make it with: {remedy}")
    return [read(file, file.parent.name, remedy) for file in files]


def read(file: Path, point: str, remedy: str) -> Summary:
    """Read one `summary.json` and its `provenance.json`.

    Raises:
        Unreadable: half-written, of another schema, or without rows.
    """
    stored = read_json(file, SCHEMA, remedy)
    try:
        rows = unpacked(stored)
    except Broken as error:
        raise Unreadable(f"{file} has a broken record ({error}); make it again with: {remedy}") from error
    if not rows:
        raise Unreadable(f"{file} has no rows; make it again with: {remedy}")
    origin = file.with_name("provenance.json")
    facts = read_json(origin, None, remedy) if origin.is_file() else {"key": stored["key"]}
    return Summary(file, point, str(stored["key"]), rows, file_hash(file), dict(facts))


def read_json(file: Path, schema: str | None, remedy: str) -> Mapping[str, Any]:
    """Read a JSON object, compressed where its name ends in `.gz`, that says its own `schema` (None: it does not).

    Raises:
        Missing: no such file.
        Unreadable: half-written, or of another schema.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Missing(f"{file} cannot be read ({error.strerror}); make it with: {remedy}") from error
    try:
        stored = json.loads(gzip.decompress(content) if file.suffix == ".gz" else content)
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise Unreadable(f"{file} is half-written or no JSON ({error}); make it again with: {remedy}") from error
    if not isinstance(stored, dict):
        raise Unreadable(f"{file} holds no JSON object; make it again with: {remedy}")
    if schema is not None and stored.get("schema") != schema:
        raise Unreadable(f"{file} has schema {stored.get('schema')}, {schema} is read; make it again with: {remedy}")
    return stored


def ensure_same_kind(file: Path, replayed: bool) -> None:
    """Keep measured results from being replaced by predictions, and the reverse.

    Args:
        file: a `summary.json` or `timeline.json.gz` that is about to be written.

    Raises:
        BadInput: it exists and is of the other kind.
    """
    stored = read_json(file, None, "the same command") if file.is_file() else {}
    if any(kind != replayed for kind in _kinds(stored)):
        there, these = ("measured", "replayed") if replayed else ("replayed", "measured")
        raise BadInput(
            f"{file.parent} holds {there} results and these would be {these}; keep it with output=null, set another "
            "output=, or remove it"
        )


def _kinds(stored: Mapping[str, Any]) -> set[bool]:
    """Whether what a file holds was replayed, by whatever schema it says so: once for all, or for each row."""
    rows = stored.get("rows", stored)
    said = [row.get("replayed") for row in rows] if isinstance(rows, list) else rows.get("replayed")
    return {bool(kind) for kind in (said if isinstance(said, list) else [said]) if kind is not None}


def commit(origin: Mapping[str, Any]) -> str:
    """Return the commit that a provenance names, marked where the tree had other changes."""
    return f"{str(origin.get('commit'))[:10]}{'+' if origin.get('dirty') else ''}"


def metric(row: Row, id: str) -> dict[str, float | None] | None:
    """Return value and interval of a metric, None where it is unknown."""
    entry = row["metrics"].get(id)
    if entry is None or entry["value"] is None:
        return None
    return {name: entry.get(name) for name in ("value", "low", "high")}


def natural(name: str) -> list[tuple[int, float, str]]:
    """Sort key that puts 9 before 10 and texts after numbers."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(0, float(part), "") if part[:1].isdigit() else (1, 0.0, part) for part in parts if part]


def is_marked(summaries: Sequence[Summary], mark: str) -> bool:
    """Whether any row is `emulated`, or `replayed`."""
    return any(row.get(mark) for summary in summaries for row in summary.rows)
