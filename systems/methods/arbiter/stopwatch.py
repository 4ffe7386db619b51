"""Times the decoding of a warm-up on the clock of the system."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from systems.contract.meter import NullMeter
from systems.contract.requests import Request


class Stopwatch(NullMeter):
    """Times the decoding of a batch: from the first commit to the last, the first token of each row left out."""

    def __init__(self, requests: Sequence[Request], stop_tokens: frozenset[int], now: Callable[[], float]) -> None:
        super().__init__([request.max_new_tokens for request in requests], stop_tokens)
        self._now = now
        self._first: float | None = None
        self._last = 0.0

    def commit(self, row: int, tokens: Sequence[int]) -> bool:
        """Note the time."""
        self._last = self._now()
        if self._first is None:
            self._first = self._last
        return super().commit(row, tokens)

    @property
    def seconds(self) -> float:
        """From the first commit to the last."""
        return 0.0 if self._first is None else self._last - self._first

    @property
    def decoded(self) -> int:
        """Tokens behind the first of each row."""
        return sum(len(row) - 1 for row in self.tokens if row)
