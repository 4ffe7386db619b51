"""The least that any schedule takes: by search where that is possible, else a floor that no schedule can pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from systems.methods.oracle.course import Course
from systems.methods.oracle.schedules import conservative

State = tuple[int, frozenset[int], tuple[int, int] | None, int]
"""References served, experts with a slot that have arrived, one on its way with the time left, time the host needs."""


def least_time(references: Sequence[int], residents: Sequence[int], slots: int, transfer: int, host: int = 0) -> int:
    """Units of time in which references of one unit each are served at best, by breadth-first search over all that the
    link, and with `host` > 0 units per expert the host, may do.

    An expert that is not there may be waited for, or computed by the host while the link goes on.
    """
    states: set[State] = {(0, frozenset(residents), None, 0)}
    for time in range(1, 10**6):
        states = {after for state in states for after in _steps(state, references, slots, transfer, host)}
        if any(served == len(references) for served, *_ in states):
            return time
    raise AssertionError


def _steps(state: State, references: Sequence[int], slots: int, transfer: int, host: int) -> Iterator[State]:
    served, held, flying, computing = state
    wanted = references[served]
    for begun in _computes(wanted in held, computing, host):
        reading = wanted in held and not begun
        for held_then, flying_then in _carries(held, flying, wanted if reading else None, references, slots, transfer):
            after = served + (reading or begun == 1)
            if flying_then is not None and flying_then[1] == 1:
                yield after, held_then | {flying_then[0]}, None, max(begun - 1, 0)
            else:
                moved = (flying_then[0], flying_then[1] - 1) if flying_then is not None else None
                yield after, held_then, moved, max(begun - 1, 0)


def _computes(there: bool, computing: int, host: int) -> Iterator[int]:
    """Time that the host has left for the reference that is due."""
    if computing:
        yield computing
        return
    yield 0
    if host and not there:
        yield host


def _carries(
    held: frozenset[int],
    flying: tuple[int, int] | None,
    reading: int | None,
    references: Sequence[int],
    slots: int,
    transfer: int,
) -> Iterator[tuple[frozenset[int], tuple[int, int] | None]]:
    """What is held and on its way once the link has started what it may start now."""
    yield held, flying
    if flying is not None:
        return
    for expert in set(references) - held:
        if len(held) < slots:
            yield held, (expert, transfer)
        for victim in held - {reading}:
            yield held - {victim}, (expert, transfer)


def floor(course: Course, residents: Sequence[int], slots: int, transfer: float) -> float:
    """Return seconds that no schedule passes which fetches all that is missing.

    From the end of any need on, the fewest fetches of the needs up to a later one, whatever the slots hold, must have
    arrived when its last expert is computed: what that takes beyond computing is waited for. Waits of intervals that
    do not overlap add up.
    """
    needs, ends = course.needs, [0.0]
    for need in needs:
        ends.append(ends[-1] + need.before + need.each * len(need.experts))
    waited = [0.0] * (len(needs) + 1)
    for first in range(len(needs)):
        waited[first + 1] = max(waited[first + 1], waited[first])
        tail = Course(needs[first:], course.experts)
        # Slots that start empty have room for any expert: as many fetches less than with the best residents.
        spared = 0 if first == 0 else slots
        found = conservative(tail, residents if first == 0 else (), slots, own=True)
        for count, fetch in enumerate(found, start=1):
            last = first + fetch.need
            wait = (count - spared) * transfer - (ends[last + 1] - needs[last].each - ends[first])
            waited[last + 1] = max(waited[last + 1], waited[first] + max(wait, 0.0))
    return ends[-1] + waited[-1]
