"""What no system can pass: the oracle below, and keeping nothing above. One that does is a bug, and fails the run.

A bound holds for systems that do its work: the same drafter and draft length, the target's own routing, experts
computed in fast memory after crossing the link. Experts computed where they lie, lossy systems, other people's
engines and systems with everything resident are outside of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.metrics.base import Value
from harness.metrics.oracle_gap import GAP
from harness.records import Row
from harness.status import is_resident
from systems.api import SystemConfig

Systems = Mapping[str, SystemConfig]
TIME_TOLERANCE = 0.03
"""Share of TPOT by which a whole interval must pass a bound. One in forty intervals of equals (an A/A run) lies
below 1 as a whole, but close to it."""
BYTES_TOLERANCE = 0.001
"""Share of bytes: counts are exact, but which prefetch lands before the last token is a matter of timing."""
JUDGED = ("ok", "noisy")
"""Verdicts that a bound may overrule; the others say already that the numbers are not to be trusted."""


def is_oracle(system: SystemConfig) -> bool:
    """Whether it knows the routing beforehand (Belady residency)."""
    return bool(system.residency["part"] == "belady")


def keeps_nothing(system: SystemConfig) -> bool:
    """Whether it fetches every needed expert again in every forward."""
    return bool(system.residency["part"] == "none")


def drafting(system: SystemConfig) -> tuple[str, int | None]:
    """Return what makes two systems verify the same tokens: the drafter's part and draft length."""
    return system.drafter["part"], system.drafter.get("draft_length")


def is_bounded(system: SystemConfig, row: Row) -> bool:
    """Whether the bounds hold for a system with this config and this row."""
    elsewhere = row["metrics"].get("computed_elsewhere", {}).get("value")
    return (
        row["status"] in JUDGED
        and system.lossless
        and system.engine["part"] == "composed"
        and not is_resident(system)
        and not elsewhere
    )


def same_draft(label: str, among: Sequence[str], systems: Systems) -> str | None:
    """Return the first of `among` that drafts as the system `label` does."""
    return next((name for name in among if drafting(systems[name]) == drafting(systems[label])), None)


def below_oracle(row: Row, oracle: Row, head_start: float = 0.0) -> Iterator[str]:
    """Yield how a row passes the oracle of the same draft: whole TPOT interval, or bytes.

    Args:
        head_start: bytes per token that a system may be spared by what it happens to hold when decoding starts; the
            oracle moves the fewest from what it holds itself.
    """
    gap, name = row["metrics"][GAP], oracle["system"]
    if gap["high"] is not None and gap["high"] < 1 - TIME_TOLERANCE:
        yield f"TPOT is {gap['value']:.2f} [{gap['low']:.2f}, {gap['high']:.2f}] times that of {name}, its lower bound"
    ours, least = bytes_per_token(row), bytes_per_token(oracle)
    if ours is not None and least is not None and ours < least * (1 - BYTES_TOLERANCE) - head_start:
        yield f"moves {ours:,.0f} bytes per token, fewer than the {least:,.0f} of {name}"


def above_nothing_kept(row: Row, ceiling: Row, slowdown: Value) -> Iterator[str]:
    """Yield how a row without prefetch passes the system of the same draft that keeps nothing.

    Args:
        slowdown: pooled TPOT of the row / of the ceiling.
    """
    name = f"{ceiling['system']}, which keeps nothing"
    if slowdown.low is not None and slowdown.low > 1 + TIME_TOLERANCE:
        yield f"TPOT is {slowdown.value:.2f} [{slowdown.low:.2f}, {slowdown.high:.2f}] times that of {name}"
    ours, most = bytes_per_token(row), bytes_per_token(ceiling)
    if ours is not None and most is not None and ours > most * (1 + BYTES_TOLERANCE):
        yield f"moves {ours:,.0f} bytes per token, more than the {most:,.0f} of {name}"


def bytes_per_token(row: Row) -> float | None:
    """Return expert bytes per decoded token, None where unknown."""
    value: float | None = row["metrics"].get("bytes_per_token", {}).get("value")
    return value
