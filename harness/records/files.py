"""Writing results so that a reader never sees half a file, and a full disk never goes unnoticed."""

from __future__ import annotations

import errno
import gzip
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from systems.api import BadInput


class CannotWrite(BadInput):
    """Results cannot be stored; the message names the folder and what to do."""

    def __init__(self, path: Path, error: OSError) -> None:
        remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check its permissions"
        elsewhere = "write elsewhere: set `runs=` and `output=` (`--output` of a report)"
        super().__init__(f"cannot write {path}: {error.strerror}; {remedy}, or {elsewhere}")


def dump(value: Any, indent: int | None = None, depth: int = 99) -> str:
    """Return JSON without NaN literals, which most readers reject.

    Args:
        indent: spaces per level; what holds plain values only, such as a metric, is a line all the same. None: all is.
        depth: levels that are laid out so; what lies deeper is a line whatever it holds.

    Raises:
        ValueError: a number is not finite; such a value must be unknown, with a reason.
    """
    return _plain(value) if indent is None else _laid_out(value, " " * indent, "\n", depth)


def _plain(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _laid_out(value: Any, step: str, margin: str, depth: int) -> str:
    """JSON of a value whose lines begin with `margin`."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    if depth == 0 or not any(isinstance(part, dict | list | tuple) for part in parts):
        return _plain(value)
    inner = margin + step
    lines = [_laid_out(part, step, inner, depth - 1) for part in parts]
    if isinstance(value, dict):
        names = [_plain(name if isinstance(name, str) else _plain(name)) for name in value]
        lines = [f"{name}: {line}" for name, line in zip(names, lines, strict=True)]
    first, last = ("{", "}") if isinstance(value, dict) else ("[", "]")
    return f"{first}{inner}{f',{inner}'.join(lines)}{margin}{last}"


def write_text(path: Path, text: str) -> None:
    """Replace a file at once: written beside it, synced, renamed; nothing is left behind on failure.

    What is to end in `.gz` is compressed, the same text to the same bytes.

    Raises:
        CannotWrite: the disk is full or the folder read-only.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise CannotWrite(path, error) from error


def ensure_writable(folder: Path) -> None:
    """Make a folder and prove that a file can be written there, before anything is measured.

    Raises:
        CannotWrite: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"\0")
    except OSError as error:
        raise CannotWrite(folder, error) from error


@contextmanager
def exclusive(folder: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Let one process at a time work in a folder, which is made; the lock of a process that dies is free at once.

    Args:
        on_wait: called before waiting for another process.

    Raises:
        CannotWrite: the folder is read-only.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire()
    except OSError as error:
        raise CannotWrite(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the items of a JSONL file; not by `splitlines`, as texts hold separators that JSON does not escape.

    Raises:
        BadInput: the file cannot be read, or holds anything but whole lines of JSON.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        rest = lines.pop()
        yield from map(json.loads, lines)
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); measure again") from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON in every line ({error}); it is half written; measure again") from error
    if rest:
        raise BadInput(f"{path} ends within line {len(lines) + 1}; it is half written; measure again")


class Lines:
    """A JSONL file that grows as things happen, flushed per call; removed if the disk refuses a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._stream: TextIO = path.open("w", encoding="utf-8")
        except OSError as error:
            raise CannotWrite(path, error) from error

    def add(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Append one line per item.

        Raises:
            CannotWrite: the disk is full; the partial file is gone then.
        """
        try:
            self._stream.write("".join(dump(item) + "\n" for item in items))
            self._stream.flush()
        except OSError as error:
            with suppress(OSError):
                self._stream.close()
            self.path.unlink(missing_ok=True)
            raise CannotWrite(self.path, error) from error

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._stream.close()
