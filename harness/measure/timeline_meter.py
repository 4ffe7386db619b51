"""A meter that keeps every span and step with its times, where the recording one only adds up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from systems.api import NullMeter, SpanName, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator


class Span(NamedTuple):
    """A stretch of one activity, nested ones included; ns. `step` is 0 before the first draft."""

    name: SpanName
    step: int
    start: int
    end: int


class StepSpan(NamedTuple):
    """One draft-verify cycle; ns."""

    number: int
    drafted: int
    accepted: int
    start: int
    end: int


class TimelineMeter:
    """Watches one request.

    Args:
        limit: tokens wanted.
        now: nanoseconds on the system's clock.
    """

    def __init__(self, limit: int, stop_tokens: frozenset[int], now: Callable[[], int]) -> None:
        self._counter, self._now = NullMeter([limit], stop_tokens), now
        self.spans: list[Span] = []
        self.steps: list[StepSpan] = []
        self.started = self._mark = now()

    def span(self, name: SpanName) -> AbstractContextManager[None]:
        """Keep the stretch when it ends."""
        return self._span(name)

    def attribute(self, name: SpanName, seconds: float) -> None:
        """Waits are seen where the transfers are."""

    def commit(self, row: int, tokens: Sequence[int]) -> bool:
        """Count; a step begins where the prefill's commit ended."""
        if not self._counter.tokens[0]:
            self._mark = self._now()
        return self._counter.commit(row, tokens)

    def left(self, row: int) -> int:
        """Count down from the limit."""
        return self._counter.left(row)

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        """Keep the cycle."""
        end = self._now()
        self.steps.append(StepSpan(len(self.steps) + 1, max(drafted), max(accepted), self._mark, end))
        self._mark = end

    def traffic(self, traffic: Traffic) -> None:
        """Transfers are watched one by one."""

    @contextmanager
    def _span(self, name: SpanName) -> Iterator[None]:
        start = self._now()
        step = len(self.steps) + 1 if self._counter.tokens[0] else 0
        try:
            yield
        finally:
            self.spans.append(Span(name, step, start, self._now()))
