"""What systems are replayed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from systems.contract.costs import Costs
from systems.contract.requests import Request


class Traces(Protocol):
    """A recording that systems can be replayed from."""

    costs: Costs
    """Measured on the machine that recorded; computations take as long in a replay."""

    def of(self, drafter: str) -> Any:
        """Return the trace that a system with this drafter part can be replayed from (`systems.replay.trace.Trace`).

        Raises:
            BadInput: there is none, it is broken, or it is of other models.
        """

    def activations(self) -> Any:
        """Return activation matrices that were collected of the same models; see `systems.contract.pair.ModelPair`."""


class Recording(Traces, Protocol):
    """A recording of models that ran."""

    @property
    def record_bytes(self) -> int:
        """Bytes of one expert."""

    @property
    def expert_bytes(self) -> int:
        """Bytes of all experts."""

    @property
    def requests(self) -> list[Request]:
        """The requests that it holds, in order, each as long as it became; those of the warm-up come last."""

    def ensure_held(self, requests: Sequence[Request]) -> None:
        """Refuse requests that are not in the recording, or longer than there.

        Raises:
            BadInput: there is one.
        """

    def greedy(self, request: Request) -> list[int]:
        """Return what plain greedy decoding by the target makes of a request, to its end or to where it was recorded.

        Raises:
            BadInput: as `ensure_held`.
        """


class Planted(Protocol):
    """A model in its sizes on a device, without its weights."""

    def costs(self, widths: Sequence[int], seconds: float | None = None) -> Costs:
        """Time layers by positions per forward, experts resident, and transfers to the device."""

    def close(self) -> None:
        """Free everything."""


class Imagination(Traces, Protocol):
    """A recording that was generated."""

    @property
    def requests(self) -> list[Request]:
        """The requests that it holds, in order."""

    def draft_bytes(self, drafter: str) -> int:
        """Fast memory of the draft of a drafter part."""
