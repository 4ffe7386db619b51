"""What options have in common."""

from __future__ import annotations

from dataclasses import dataclass

from systems.contract.errors import BadInput

INT4_GROUPS = (32, 64, 128, 256)
"""Weights to a scale that the INT4 kernel knows."""


@dataclass(frozen=True, slots=True)
class NoPart:
    """The part `none`."""


def require(valid: bool, key: str, value: object, expected: str) -> None:
    """Refuse the value of an option.

    Raises:
        BadInput: it is not valid; `expected` says what is.
    """
    if not valid:
        raise BadInput(f"{key}={value} must be {expected}")


@dataclass(frozen=True, slots=True)
class PrefetchOptions:
    """How prefetches travel: `worker` lets transfers run beside the computation; without it prefetching waits for
    them. `batch_io` is the most records in one I/O call."""

    worker: bool = True
    batch_io: int = 4

    def __post_init__(self) -> None:
        require(self.batch_io >= 1, "prefetch.batch_io", self.batch_io, "at least 1")
