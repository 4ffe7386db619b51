"""Time as the runtime sees it: this machine's, or a virtual one that only moves when it is told to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from systems.contract.costs import Costs, Overheads


class Clock:
    """What transfers and waits are measured by, in seconds."""

    virtual: bool = False

    def now(self) -> float:
        """The time."""
        raise NotImplementedError

    def wait(self, until: float) -> None:
        """Block until then."""
        raise NotImplementedError

    def spend(self, seconds: float) -> None:
        """Computation that takes so long on the machine that the clock belongs to is about to run."""

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What runs inside takes none of this clock's time, where waits do not either."""
        yield

    def carried(self, records: int) -> None:
        """So many records cross the link: prefetches that have set out, or demands that have arrived."""

    def hinted(self) -> None:
        """A predictor has named experts."""


class WallClock(Clock):
    """This machine's time; computations take what they take, and slow each other as they do."""

    def now(self) -> float:
        """Seconds from some start."""
        return time.perf_counter()

    def wait(self, until: float) -> None:
        """Sleep to within the kernel's wake-up error, then yield the processor until the time has come.

        `time.sleep` alone overshoots by up to a millisecond, as long as a whole transfer.
        """
        while (left := until - time.perf_counter()) > 0:
            time.sleep(left - 4e-4 if left > 8e-4 else 0)


class VirtualClock(Clock):
    """A time that waits and computations push forward. One thread only."""

    def __init__(self, overheads: Overheads | None = None) -> None:
        overheads = overheads or Overheads()
        self.virtual = True
        self._fetch, self._hint = overheads.fetch, overheads.hint
        self.time = 0.0
        self._owed = 0.0

    def now(self) -> float:
        """The virtual time."""
        return self.time

    def wait(self, until: float) -> None:
        """Let the time be at least `until`."""
        if until > self.time:
            self.time = until

    def spend(self, seconds: float) -> None:
        """Let so many seconds of computing pass, and what it is slowed by."""
        self.time += seconds + self._owed
        self._owed = 0.0

    def carried(self, records: int) -> None:
        """So many records cross the link: the computation beside them, or behind them, slows."""
        self._owed += records * self._fetch

    def hinted(self) -> None:
        """A predictor has named experts: the computation waited for it."""
        self._owed += self._hint


class Pace:
    """How long computations take on a virtual clock, from a table of costs. On this machine's clock it does nothing."""

    def __init__(self, clock: Clock, costs: Costs) -> None:
        self.clock = clock
        self._target, self._draft = _Times(costs.target_layer), _Times(costs.draft_layer)

    def half_layer(self, tokens: int) -> None:
        """Half of a target layer over so many tokens, which runs before its experts are asked for."""
        if self.clock.virtual:
            self.clock.spend(self._target.at(tokens) / 2)

    def expert(self, tokens: int, experts: int) -> None:
        """One of the `experts` that a target layer needs for so many tokens: together they are its second half."""
        if self.clock.virtual:
            self.clock.spend(self._target.at(tokens) / 2 / experts)

    def draft_layer(self, tokens: int) -> None:
        """A layer of the draft model over so many tokens."""
        if self.clock.virtual:
            self.clock.spend(self._draft.at(tokens))

    def self_layer(self, seconds: float) -> None:
        """A layer of the target that drafts for itself."""
        self.clock.spend(seconds)


class _Times:
    """A table's times by number of tokens, each looked up once."""

    def __init__(self, table: Mapping[int, float]) -> None:
        self._table = table
        self._known: list[float] = []
        """By tokens; negative where nobody has asked."""

    def at(self, tokens: int) -> float:
        """Seconds for so many tokens."""
        if tokens >= len(self._known):
            self._known += [-1.0] * (tokens + 1 - len(self._known))
        if self._known[tokens] < 0:
            self._known[tokens] = Costs.at(self._table, tokens)
        return self._known[tokens]
