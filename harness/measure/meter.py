"""The meter that measures: spans, commits and steps on one monotonic clock.

A span costs well under a microsecond: contexts are allocated once per name, nesting is a list of small
integers, and time is attributed when a span opens or closes, so that spans are exclusive by construction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from harness.records.generation import SPANS, Commit, Generation, Report, Row, Step
from systems.api import SpanName, Traffic

Clock = Callable[[], int]
OUTSIDE = 0
"""Slot of the time in no span; slot `i + 1` belongs to `SPANS[i]`."""


class RecordingMeter:
    """Measures one generation of a batch.

    Args:
        ids: one request id per row.
        limits: tokens wanted per row; a row ends there or at its first stop token, which is kept.
        stop_tokens: ids that end a row.
        clock: nanoseconds, monotonic.
        synchronize: waits for the device. On an accelerator kernels are launched ahead of their execution;
        with
            this hook outermost spans and commits end when the work has, and not when it was launched.
    """

    __slots__ = (
        "_clock", "_current", "_first", "_last", "_limits", "_mark", "_rows", "_snapshot", "_spans", "_stack",
        "_started", "_stop", "_synchronize", "_totals", "_window", "reports", "steps",
    )  # fmt: skip

    def __init__(
        self,
        ids: Sequence[str],
        limits: Sequence[int],
        stop_tokens: frozenset[int] = frozenset(),
        clock: Clock = time.perf_counter_ns,
        synchronize: Callable[[], None] | None = None,
    ) -> None:
        kind = _Span if synchronize is None else _DeviceSpan
        self._clock, self._synchronize = clock, synchronize
        self._limits, self._stop = limits, stop_tokens
        self._rows = [Row(id) for id in ids]
        self._totals = [0] * (len(SPANS) + 1)
        self._spans = {name: kind(self, index) for index, name in enumerate(SPANS, 1)}
        self._stack: list[int] = []
        self._current = OUTSIDE
        self._first: list[int] | None = None
        self._window = list(self._totals)
        self._snapshot = list(self._totals)
        self.steps: list[Step] = []
        self.reports: list[Report] = []
        self._started = self._last = self._mark = clock()

    def span(self, name: SpanName) -> AbstractContextManager[None]:
        """Return the context of `name`; it is the same object every time and may be nested in itself."""
        return self._spans[name]

    def attribute(self, name: SpanName, seconds: float) -> None:
        """Move so much time (s) from the open span to another."""
        moved = round(seconds * 1e9)
        self._totals[self._current] -= moved
        self._totals[self._spans[name]._index] += moved

    def commit(self, row: int, tokens: Sequence[int]) -> bool:
        """Stamp tokens of a row, trim them, and say whether the row is complete."""
        self._settle()
        record = self._rows[row]
        if not record.commits:  # a step begins where the prefill's commit ended, not where the request began
            self._restart_step()
        record.handed += len(tokens)
        kept = 0 if record.stopped else self._keep(record, tokens, self._limits[row])
        if kept:
            record.commits.append(Commit(self._last, kept))
            self._window = list(self._totals)
            if self._first is None:
                self._first = list(self._totals)
        return record.stopped or len(record.tokens) >= self._limits[row]

    def left(self, row: int) -> int:
        """Count down from the limit."""
        return self._limits[row] - len(self._rows[row].tokens)

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        """Close a cycle: its time runs from the previous step, or from the commit that ended the prefill."""
        self._settle()
        spans = {name: (self._totals[index] - self._snapshot[index]) / 1e9 for index, name in enumerate(SPANS, 1)}
        seconds = (self._last - self._mark) / 1e9
        self.steps.append(Step(tuple(rows), tuple(drafted), tuple(accepted), seconds, spans))
        self._restart_step()

    def traffic(self, traffic: Traffic) -> None:
        """Keep the report; the system must not write to it afterwards."""
        self.reports.append(Report(len(self.steps), traffic))

    def finish(self, repeat: int = 0, batch: int = 0, order: int = 0) -> Generation:
        """Return the record once `System.generate` has returned.

        `order` is the position of the system among those that were given this batch one after the other.
        """
        first = self._first or self._window
        window = dict(zip(("", *SPANS), (b - a for a, b in zip(first, self._window, strict=True)), strict=True))
        return Generation(repeat, batch, order, self._started, self._rows, self.steps, self.reports, window)

    def _keep(self, record: Row, tokens: Sequence[int], limit: int) -> int:
        before = len(record.tokens)
        for token in tokens[: limit - before]:
            record.tokens.append(token)
            if token in self._stop:
                record.stopped = True
                break
        return len(record.tokens) - before

    def _settle(self) -> None:
        """Attribute the time up to now to the open span."""
        if self._synchronize is not None:
            self._synchronize()
        now = self._clock()
        self._totals[self._current] += now - self._last
        self._last = now

    def _restart_step(self) -> None:
        self._mark = self._last
        self._snapshot = list(self._totals)


class _Span(AbstractContextManager[None]):
    """Switches the slot that time is attributed to. Written out flat: this is the hot path."""

    __slots__ = ("_index", "_meter")

    def __init__(self, meter: RecordingMeter, index: int) -> None:
        self._meter = meter
        self._index = index

    def __enter__(self) -> None:
        meter = self._meter
        now = meter._clock()
        meter._totals[meter._current] += now - meter._last
        meter._last = now
        meter._stack.append(meter._current)
        meter._current = self._index

    def __exit__(self, *error: object) -> None:
        meter = self._meter
        now = meter._clock()
        meter._totals[meter._current] += now - meter._last
        meter._last = now
        meter._current = meter._stack.pop()


class _DeviceSpan(_Span):
    """An outermost span waits for the device; nested ones would undo the overlap that they measure."""

    __slots__ = ()

    def __enter__(self) -> None:
        if not self._meter._stack:
            self._meter._settle()
        super().__enter__()

    def __exit__(self, *error: object) -> None:
        if len(self._meter._stack) == 1:
            self._meter._settle()
        super().__exit__()
