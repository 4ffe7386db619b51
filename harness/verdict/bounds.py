"""What no system can pass: the oracle below, and keeping nothing above. One that does is a bug, and fails the run.

A bound holds for systems that do its work: the same drafter and draft length, the target's own routing, experts
computed in fast memory after crossing the link, or where they lie if the oracle may do so, too. Lossy systems, engines
whose transfers are not paced and systems with everything resident are outside of it.

What an oracle's time is: that of the best of several schedules that know all needs, tried at the measured costs. No
schedule is proven to be the fastest (of those for one link, the aggressive one takes at most 1 + F/k times the least
time, where a transfer lasts F needs and k experts have a slot: Cao et al. 1995), so that a system faster than its
oracle would mean a better schedule, a luckier start or a bug. Which it is must be looked at; so it fails the run. What
an oracle's bytes are: the fewest fetches of any schedule, which it may exceed itself to wait less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.metrics.base import Value
from harness.metrics.oracle_gap import GAP
from harness.records.summary_file import Row
from harness.verdict.status import is_resident
from systems.api import SystemConfig, traits

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
    return traits(system).knows_future


def keeps_nothing(system: SystemConfig) -> bool:
    """Whether it fetches every needed expert again in every forward."""
    return traits(system).keeps_nothing


def drafting(system: SystemConfig) -> dict[str, Any]:
    """Return what makes two systems verify the same tokens: the drafter and its options, but for how it is divided, and
    its governor."""
    drafter = {option: value for option, value in system.drafter.items() if option != "split"}
    return drafter | {"governor": dict(system.governor)}


def computes_elsewhere(system: SystemConfig) -> bool:
    """Whether it may compute missing experts where they lie."""
    return traits(system).computes_in_place


def as_fast_a_host(system: SystemConfig, oracle: SystemConfig) -> bool:
    """Whether an oracle's host, for a system that computes there, takes as long: neither has constants of its own in
    place of the hardware profile's, or both have the same."""
    own = "token_share"
    return not computes_elsewhere(system) or system.placement.get(own) == oracle.placement.get(own)


def is_bounded(system: SystemConfig, row: Row) -> bool:
    """Whether the bounds hold for a system with this config and this row."""
    return row["status"] in JUDGED and system.lossless and traits(system).composed and not is_resident(system)


def same_draft(label: str, among: Sequence[str], systems: Systems) -> str | None:
    """Return the first of `among` that drafts as the system `label` does."""
    return next((name for name in among if drafting(systems[name]) == drafting(systems[label])), None)


def oracle_of(label: str, oracles: Sequence[str], systems: Systems) -> str | None:
    """Return the first of `oracles` that bounds the system `label`: it drafts alike and may compute where that may, on
    a host that is as fast.

    For who computes in fast memory only, an oracle that does so, too, comes before one that need not.
    """
    elsewhere = computes_elsewhere(systems[label])
    alike = [name for name in oracles if computes_elsewhere(systems[name]) == elsewhere]
    alike = [name for name in alike if as_fast_a_host(systems[label], systems[name])]
    able = [] if elsewhere else [name for name in oracles if name not in alike]
    return same_draft(label, [*alike, *able], systems)


def below_oracle(row: Row, oracle: str, least: float | None = None, head_start: float = 0.0) -> Iterator[str]:
    """Yield how a row passes the oracle that its gap is to: whole TPOT interval, or bytes.

    Args:
        least: bytes per token that all must move who compute in fast memory only; None: unknown, or nothing.
        head_start: bytes per token that a system may be spared by what it happens to hold when decoding starts; `least`
            is from what the oracle holds.
    """
    gap = row["metrics"][GAP]
    if gap["high"] is not None and gap["high"] < 1 - TIME_TOLERANCE:
        yield (
            f"TPOT is {gap['value']:.2f} [{gap['low']:.2f}, {gap['high']:.2f}] times that of {oracle}, its lower bound"
        )
    ours = bytes_per_token(row)
    if ours is not None and least is not None and ours < least * (1 - BYTES_TOLERANCE) - head_start:
        yield f"moves {ours:,.0f} bytes per token, fewer than the {least:,.0f} that {oracle} knows to be needed"


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
