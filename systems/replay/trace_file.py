"""Traces on disk: one compressed `.npz` each, with its header as JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from systems.contract.errors import BadInput
from systems.replay.trace import ARRAYS, NOTHING, VERSION, Header, Record, Trace


def save(trace: Trace, path: Path) -> None:
    """Write everything into one file."""
    arrays: dict[str, Any] = {"header": np.array(json.dumps(asdict(trace.header)))}
    for number, (name, record) in enumerate(trace.records.items()):
        arrays[f"{number}/id"] = np.array(name)
        arrays[f"{number}/first"] = np.array(record.first)
        arrays |= {f"{number}/{array}": getattr(record, array) for array in ARRAYS}
    temporary = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    temporary.replace(path)


def load(path: Path) -> Trace:
    """Read what `save` wrote.

    Raises:
        BadInput: no such file, not a trace or not all of one, one of another version, or with arrays that do not fit
            its header.
    """
    with _opened(path) as saved:
        header = _header(saved, path)
        count = sum(name.endswith("/id") for name in saved.files)
        records = {
            str(saved[f"{number}/id"]): Record(
                first=int(saved[f"{number}/first"]), **{name: saved[f"{number}/{name}"] for name in ARRAYS}
            )
            for number in range(count)
        }
    for name, record in records.items():
        if misfit := _misfit(header, record):
            raise BadInput(f"trace {path}, request {name}: {misfit}; record it again")
    return Trace(header, records)


def read_header(path: Path) -> Header:
    """Read what a trace was recorded from, and nothing else of it.

    Raises:
        BadInput: as `load`, as far as the header goes.
    """
    with _opened(path) as saved:
        return _header(saved, path)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The arrays of a trace, by name."""
    if not path.is_file():
        raise BadInput(f"trace {path} is missing; record one with python -m harness record")
    try:
        with np.load(path, allow_pickle=False) as saved:
            yield saved
    except (BadZipFile, zlib.error, EOFError) as error:
        raise BadInput(f"trace {path} is truncated or damaged ({error}); record it again") from error
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise BadInput(f"{path} is not a trace ({error}); record one with python -m harness record") from error


def _header(saved: Any, path: Path) -> Header:
    facts: dict[str, Any] = json.loads(str(saved["header"]))
    if facts["version"] != VERSION:
        raise BadInput(f"trace {path} has version {facts['version']}, {VERSION} is read; record it again")
    return Header(**facts)


def _misfit(header: Header, record: Record) -> str | None:
    """Which array of a record does not fit the header, and how; None where all do."""
    steps, longest, prompt = len(record.agreed), header.draft_length, len(record.prompt)
    where = (header.layers, header.top_k)
    expected = {
        "prompt_routed": (prompt, *where),
        "drafts": (steps, longest),
        "answers": (steps, longest + 1),
        "routed": (steps, longest + 1, *where),
        "ahead": (steps, longest + 1, header.layers, header.depth, header.top_k),
    }
    for name, shape in expected.items():
        if (found := getattr(record, name).shape) != shape:
            return f"`{name}` has the shape {found}, its header says {shape}"
    for name in ("prompt_routed", "routed", "hinted", "ahead"):
        ids = getattr(record, name)
        if ids.size and not (ids.min() >= NOTHING and ids.max() < header.experts):
            return f"`{name}` names expert {ids.max()}, its header says there are {header.experts}"
    return None
