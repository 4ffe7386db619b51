"""What every system is to the harness, ours and other people's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from systems.contract.errors import BadInput
from systems.contract.meter import Meter
from systems.contract.requests import Request
from systems.contract.traffic import Transfer


class System(Protocol):
    """A built system, ready to generate."""

    fast_bytes: int
    """Fast memory it holds beyond the target's non-expert weights and KV: slots, draft, copies, staging."""

    def generate(self, requests: Sequence[Request], meter: Meter, at_once: int | None = None) -> None:
        """Generate for a batch until `meter.commit` has returned True for every row.

        Args:
            at_once: rows decoded at once at most; further requests wait, and join as rows leave. None: all.

        Raises:
            BadInput: there is no request.
        """

    def kv_bytes(self, requests: Sequence[Request], at_once: int | None = None) -> int:
        """Bytes of keys and values that such a generation keeps, draft models' included; the budget is beyond them."""

    def calibrate(self, requests: Sequence[Request]) -> None:
        """Run the given warm-up requests unmeasured, then fix whatever is chosen from a profile (e.g. cutoff)."""

    def rehearse(self, requests: Sequence[Request], at_once: int | None = None) -> None:
        """Called untimed before each measured `generate`, with its arguments and with no other call between: a bound
        records there what it needs to know, everybody else does nothing."""

    def now_ns(self) -> int:
        """The time in nanoseconds on the clock that the system runs on: the machine's, or a virtual one."""

    def describe(self) -> dict[str, Any]:
        """What was chosen or derived: slots, cutoff, bytes; plain JSON values."""

    def close(self) -> None:
        """Stop threads and free memory. Idempotent."""


@runtime_checkable
class Reading(Protocol):
    """What a system can do that has a target's probabilities."""

    def log_likelihood(self, tokens: Sequence[int]) -> list[float]:
        """Return how likely each token but the first is, given those before (log-probability, nats)."""


@runtime_checkable
class Watched(Protocol):
    """What a system can do that knows of its transfers."""

    def watch(self, hear: Callable[[Transfer], None]) -> None:
        """Tell `hear` of every transfer from now on, in the order in which they were begun; any thread may call it."""


def log_likelihood(system: System, tokens: Sequence[int]) -> list[float]:
    """Return how likely a built system finds each token but the first; see `Reading`.

    Raises:
        BadInput: a peer or a replay, which tells no probabilities.
    """
    if not isinstance(system, Reading):
        raise BadInput("a peer or a replay tells no probabilities; leave it out of `systems`")
    return system.log_likelihood(tokens)


def watch_transfers(system: System, hear: Callable[[Transfer], None]) -> None:
    """Tell `hear` of every transfer of a built system from now on; see `Watched`.

    Raises:
        BadInput: a peer, whose transfers nobody sees.
    """
    if not isinstance(system, Watched):
        raise BadInput("a peer does not tell of its transfers; watch a composed system")
    system.watch(hear)
