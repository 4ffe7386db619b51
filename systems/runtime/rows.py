"""Who sits where when rows of a batch have finished."""

from __future__ import annotations

from collections.abc import Sequence


def seated(going: Sequence[bool]) -> list[int]:
    """Return the present row of each seat that is left: who goes on stays, and the last take the empty seats.

    So as many rows move, and are copied, as have finished at most. `going` says of each row whether it goes on.
    """
    left = sum(going)
    late = [row for row in range(left, len(going)) if going[row]]
    return [row if going[row] else late.pop() for row in range(left)]
