"""Marshalled messages on stdin, read to the byte: what follows one is meant for somebody else."""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # these take longer to load than all the rest
    from typing import Any

LENGTH = 8
"""Bytes that give the length of a message."""


def message(content: dict[str, Any]) -> bytes:
    """Return a message; its reader must be the same Python."""
    data = marshal.dumps(content)
    return len(data).to_bytes(LENGTH, "big") + data


def read_message() -> dict[str, Any]:
    """Read one message and nothing beyond it.

    Raises:
        EOFError: stdin ended before it did.
    """
    return dict(marshal.loads(_read(int.from_bytes(_read(LENGTH), "big"))))


def _read(count: int) -> bytes:
    found = b""
    while len(found) < count:
        got = os.read(0, count - len(found))
        if not got:
            raise EOFError("the message is incomplete")
        found += got
    return found
