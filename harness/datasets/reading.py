"""From a file to rows, each with the place it stands at; whatever is wrong is refused by file name and line.

Parquet is read through Hugging Face `datasets`, whose Arrow cache stays on disk. JSON lines are read here, since
`datasets` names no lines and takes a missing column for empty values.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from harness.config.schema import suggest
from harness.datasets.spec import Located, Row
from systems.api import BadInput

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
TYPES = {str: "a text", int: "a whole number", list: "a list"}


def read(path: Path, columns: Mapping[str, type]) -> Iterator[Located]:
    """Yield the rows of a Parquet or JSON lines file; blank lines are skipped.

    Raises:
        BadInput: the file or a row cannot be used; the message names both.
    """
    if not path.name.endswith(SUFFIXES):
        raise BadInput(f"{path} is neither JSON lines nor Parquet; its name must end in one of {', '.join(SUFFIXES)}")
    for where, row in _parquet(path) if path.suffix == ".parquet" else _json_lines(path):
        _check(row, columns, where)
        yield where, row


def _parquet(path: Path) -> Iterator[Located]:
    from datasets import Dataset, disable_progress_bars
    from datasets.exceptions import DatasetGenerationError
    from pyarrow import ArrowException

    _open(path).close()
    disable_progress_bars()
    try:
        table = cast("Iterable[Row]", Dataset.from_parquet(str(path)))
    except (DatasetGenerationError, ArrowException) as error:
        raise BadInput(f"{path} is no whole Parquet file ({error.__cause__ or error}); fetch it again") from error
    for number, row in enumerate(table, 1):
        yield f"{path}, row {number}", row


def _json_lines(path: Path) -> Iterator[Located]:
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(f"{where}: not UTF-8 (byte {error.start}); convert it") from error
        if text.strip():
            yield where, _parse(text, where)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    with _open(path) as stream:
        try:
            for number, line in enumerate(stream, 1):
                yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadInput(f"{path}, line {number + 1}: {error}; fetch the file again") from error


def _open(path: Path) -> IO[bytes]:
    try:
        return cast("IO[bytes]", gzip.open(path) if path.suffix == ".gz" else path.open("rb"))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; check `dataset.path`") from error


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        cut = "" if text.endswith("\n") else "; the line has no end, so the file may be cut off"
        raise BadInput(f"{where}: not JSON ({error.msg} at column {error.colno}){cut}") from error
    except RecursionError as error:
        raise BadInput(f"{where}: nested too deeply to be read") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise BadInput(f"{where}: a number cannot be read ({error})") from error
    if not isinstance(row, dict):
        raise BadInput(f"{where}: one JSON object a line is needed")
    if "\\u" in text:  # only an escape can make half a character
        _check_characters(row, where)
    return row


def _check_characters(row: Row, where: str) -> None:
    """Refuse halves of characters: they cannot be encoded, hashed or written."""
    for name, value in row.items():
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise BadInput(f"{where}: the name of a column has half a character; write it whole") from error
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise BadInput(f"{where}: `{name}` has half a character ({half} alone); write it whole") from error


def _check(row: Row, columns: Mapping[str, type], where: str) -> None:
    for name, kind in columns.items():
        if name not in row:
            raise BadInput(f"{where}: no column `{name}`; {suggest(name, row)}")
        if not isinstance(row[name], kind) or isinstance(row[name], bool):
            raise BadInput(f"{where}: `{name}` is {row[name]!r:.60}; {TYPES[kind]} is needed")
