"""Time as the runtime sees it: this machine's, this machine's without its waits, or one that is told to move."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from systems.contract.costs import Costs


class Clock:
    """What transfers and waits are measured by, in seconds.

    Attributes:
        virtual: whether computations take what a table says, and nothing real.
        skips: whether a wait moves the clock on instead of taking time; the link is then served by whoever looks at it.
        waited: seconds that waits have moved the clock on so far, while the device that computes did nothing.
    """

    virtual: bool = False
    skips: bool = False
    waited: float = 0.0

    def now(self) -> float:
        """The time."""
        raise NotImplementedError

    def wait(self, until: float) -> None:
        """Let the time be at least `until`."""
        raise NotImplementedError

    def spend(self, seconds: float) -> None:
        """Computation that takes so long on the machine that the clock belongs to is about to run."""

    def hide(self, seconds: float) -> None:
        """Of what has just been computed, the emulated machine has done so many seconds' worth while it waited before.
        On a clock of real things nothing is hidden."""

    def stop(self) -> None:
        """What follows takes none of this clock's time, up to the `go` that belongs to it: the emulated machine does it
        elsewhere, or not at all. On a clock of real things it takes what it takes. May be nested."""

    def go(self) -> None:
        """Time passes again."""

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """From `stop` to `go`."""
        self.stop()
        try:
            yield
        finally:
            self.go()

    @contextmanager
    def beside(self) -> Iterator[None]:
        """What runs inside computes on a processor of its own, while others may wait on this clock."""
        yield


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


class SkippingClock(Clock):
    """This machine's time while it computes; whoever waits moves it on, so that waits take no time.

    Emulating a link costs the computation nothing then: no thread, no copy, no sleep.
    """

    def __init__(self) -> None:
        self.virtual, self.skips = False, True
        self._ahead = 0.0
        """Seconds that waits have skipped, less those that it was stopped."""
        self._stopped, self._depth = -1.0, 0
        """The time at which it stands, negative while it runs; and how often it was stopped."""
        self._others = 0
        self._alone = threading.Condition()

    def now(self) -> float:
        """Seconds from some start."""
        return time.perf_counter() + self._ahead if self._stopped < 0 else self._stopped

    def wait(self, until: float) -> None:
        """Skip what is left until then; while others compute beside, let the time pass, since theirs is real."""
        if self._others:
            with self._alone:
                while self._others and (left := until - self.now()) > 0:
                    self._alone.wait(left)
        if (left := until - self.now()) > 0:
            self.waited += left
            if self._stopped < 0:
                self._ahead += left
            else:
                self._stopped = until

    def hide(self, seconds: float) -> None:
        """Go back."""
        self._ahead -= seconds

    def stop(self) -> None:
        """Stand still; not while others compute beside, whose time is real."""
        if not self._depth and not self._others:
            self._stopped = self.now()
        self._depth += 1

    def go(self) -> None:
        """Go on from where it stood."""
        self._depth -= 1
        if not self._depth and self._stopped >= 0:
            self._ahead = self._stopped - time.perf_counter()
            self._stopped = -1.0

    @contextmanager
    def beside(self) -> Iterator[None]:
        """See `Clock.beside`."""
        with self._alone:
            self._others += 1
        try:
            yield
        finally:
            with self._alone:
                self._others -= 1
                self._alone.notify_all()


class VirtualClock(Clock):
    """A time that waits and computations push forward. One thread only."""

    def __init__(self) -> None:
        self.virtual = self.skips = True
        self.time = 0.0
        self._depth = 0

    def now(self) -> float:
        """The virtual time."""
        return self.time

    def wait(self, until: float) -> None:
        """Let the time be at least `until`."""
        if until > self.time:
            self.waited += until - self.time
            self.time = until

    def hide(self, seconds: float) -> None:
        """Go back."""
        self.time -= seconds

    def spend(self, seconds: float) -> None:
        """Let so many seconds of computing pass."""
        if not self._depth:
            self.time += seconds

    def stop(self) -> None:
        """Let computations take nothing."""
        self._depth += 1

    def go(self) -> None:
        """Let them take their time."""
        self._depth -= 1


class Pace:
    """How long computations take on a virtual clock, from a table of costs. On another clock it does nothing."""

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
