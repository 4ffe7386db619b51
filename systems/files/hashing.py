"""What a file of weights holds, as a hash."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path


def content_hash(file: Path) -> str:
    """Return the SHA-256 of a file, read once as long as it is not touched."""
    facts = file.stat()
    return _content_hash(file, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@cache
def _content_hash(file: Path, *_: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
