"""What every system is to the harness, ours and other people's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from systems.contract.meter import Meter
from systems.contract.requests import Request


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
