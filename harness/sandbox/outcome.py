"""What is asked of the sandbox and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from systems.api import BadInput


class Verdict(StrEnum):
    """How a program ended. Only `PASSED` counts for accuracy; the others are kept apart to be explained."""

    PASSED = "passed"
    """It ran to its last statement, with no assertion failed and no exception raised."""
    FAILED = "failed"
    """An assertion or another exception ended it, or it left before its last statement."""
    TIMED_OUT = "timed_out"
    """It used up its wall-clock or CPU time."""
    CRASHED = "crashed"
    """The interpreter died, or memory, files, threads or output ran over their limit."""
    FORBIDDEN = "forbidden"
    """It tried what no program here may do: processes, network, other files, tampering with the checks."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    `wall` and `cpu` are seconds, `memory` bytes of address space, `processes` threads (more processes are never
    allowed), `files` bytes written to its folder, and `output` bytes on stdout and stderr together.
    """

    wall: float = 10.0
    cpu: int = 5
    memory: int = 512 << 20
    processes: int = 32
    files: int = 16 << 20
    output: int = 1 << 20

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) <= 0:
                raise BadInput(f"sandbox limit `{item.name}` is {getattr(self, item.name)}; give a positive number")


DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one program.

    `detail` says what ended it, `seconds` is the wall-clock time of the whole sandbox, `isolation` names the
    isolation in force, and `cpu` is the program's own CPU time in seconds.
    """

    verdict: Verdict
    detail: str
    seconds: float
    isolation: str
    cpu: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the program counts as right."""
        return self.verdict is Verdict.PASSED
