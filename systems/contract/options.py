"""What options have in common."""

from __future__ import annotations

from systems.contract.errors import BadInput

INT4_GROUPS = (32, 64, 128, 256)
"""Weights to a scale that the INT4 kernel knows."""


def require(valid: bool, key: str, value: object, expected: str) -> None:
    """Refuse the value of an option.

    Raises:
        BadInput: it is not valid; `expected` says what is.
    """
    if not valid:
        raise BadInput(f"{key}={value} must be {expected}")


def require_length(kind: str, length: int, plain: str = "none") -> None:
    """Refuse drafts of no token; the part `plain` drafts nothing."""
    require(length >= 1, f"{kind}.draft_length", length, f"at least 1; {kind}.part={plain} drafts nothing")
