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
