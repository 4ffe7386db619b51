"""A meter for thousands of replays: it counts, and finds the same TPOT, hit rate and bytes as records would."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from systems.api import NullMeter, Traffic


class Tally:
    """Adds up the decode phase of one request after another; see `harness.metrics` for the definitions.

    Args:
        clock: nanoseconds, monotonic.
    """

    __slots__ = (
        "_clock", "_covered", "_drafted", "_first", "_hits", "_last", "_moved", "_needed", "_row", "_steps", "_time",
        "_tokens", "attribute", "generated", "span",
    )  # fmt: skip

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._row = NullMeter([])
        self.span, self.attribute = self._row.span, self._row.attribute
        self._first = self._last = 0
        self.generated = 0
        """Tokens of all requests."""
        self._time = self._tokens = self._steps = 0
        self._needed = self._drafted = self._hits = self._covered = self._moved = 0

    def begin(self, limit: int) -> None:
        """The next request, which ends after `limit` tokens, or as soon as it ended when it was recorded."""
        self._row = NullMeter([limit])

    def commit(self, row: int, tokens: Sequence[int]) -> bool:
        """Stamp the first and the last tokens."""
        now = self._clock()
        if not self._row.tokens[row]:
            self._first = now
        self._last = now
        return self._row.commit(row, tokens)

    def left(self, row: int) -> int:
        """Count down from the limit."""
        return self._row.left(row)

    def end(self) -> None:
        """The request has ended."""
        tokens = len(self._row.tokens[0])
        self.generated += tokens
        self._tokens += tokens - 1
        self._time += self._last - self._first

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        """Count the step; what it leaves in the output is counted at the end."""
        self._steps += len(rows)

    def traffic(self, traffic: Traffic) -> None:
        """Count what decoding needed and moved."""
        if traffic.phase == "decode":
            self._moved += traffic.moved_bytes
            self._needed += traffic.needed
            self._hits += traffic.hits
            self._drafted += traffic.foretold
            self._covered += traffic.covered

    def values(self) -> dict[str, float | None]:
        """Metrics by id; None where nothing was decoded."""
        return {
            "tpot": _ratio(self._time / 1e9, self._tokens),
            "hit_rate": _ratio(self._hits, self._needed),
            "coverage": _ratio(self._covered, self._drafted),
            "bytes_per_token": _ratio(self._moved, self._tokens),
            "acceptance_length": _ratio(self._tokens, self._steps),
        }


def _ratio(up: float, down: float) -> float | None:
    return up / down if down else None
