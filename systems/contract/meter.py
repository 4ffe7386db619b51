"""What a system reports to. The harness implements it, and owns the clock."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from systems.contract.traffic import Traffic

SpanName = Literal["prefill", "draft", "verify", "transfer", "host"]
"""Where time goes. Spans nest and are exclusive: a `transfer` wait inside `verify` counts as `transfer` only."""


class Meter(Protocol):
    """What a system reports to. Rows are positions in the batch that was passed to `System.generate`."""

    def span(self, name: SpanName) -> AbstractContextManager[None]:
        """Attribute the time spent inside to `name`, less the time of spans nested in it."""

    def attribute(self, name: SpanName, seconds: float) -> None:
        """So many seconds of the span that is open belong to `name`: a device has told how long it waited, while the
        host, which runs ahead of it, knows only how long itself has."""

    def commit(self, row: int, tokens: Sequence[int]) -> bool:
        """Hand over tokens of a row as they are final; True when the row wants no more."""

    def left(self, row: int) -> int:
        """How many tokens a row that is not complete still wants: no draft need be longer."""

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        """Close one draft-verify cycle: per row of `rows`, tokens drafted and drafts accepted."""

    def traffic(self, traffic: Traffic) -> None:
        """Report expert needs and transfers since the last report."""


class NullMeter:
    """Measures nothing and stops each row after its own number of tokens: the no-op side of overhead tests."""

    def __init__(self, limits: Sequence[int], stop_tokens: frozenset[int] = frozenset()) -> None:
        self.tokens: list[list[int]] = [[] for _ in limits]
        self._limits = limits
        self._stop = stop_tokens
        self._span = NullSpan()

    def span(self, name: SpanName) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return self._span

    def attribute(self, name: SpanName, seconds: float) -> None:
        """Ignore it."""

    def commit(self, row: int, tokens: Sequence[int]) -> bool:
        """Collect tokens up to the limit or the first stop token."""
        kept = self.tokens[row]
        for token in tokens:
            if len(kept) >= self._limits[row]:
                break
            kept.append(token)
            if token in self._stop:
                return True
        return len(kept) >= self._limits[row]

    def left(self, row: int) -> int:
        """Count down from the limit."""
        return self._limits[row] - len(self.tokens[row])

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        """Ignore the step."""

    def traffic(self, traffic: Traffic) -> None:
        """Ignore the report."""


class NullSpan:
    """A span that nobody times."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        pass
