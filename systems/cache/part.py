"""How experts travel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from systems.contract.errors import BadInput
from systems.policies.part import TransferPart

if TYPE_CHECKING:
    from systems.policies.composition import Composition


@dataclass(frozen=True, slots=True)
class InLinePart(TransferPart):
    """`transfer.part: in_line`: copies take turns with the computation, as on the stream that computes.

    A layer's missing experts are fetched one after the other while nothing is computed. With `write_back` an expert
    that is evicted is copied to slow memory before its slot is filled: two transfers per miss that evicts. That is
    how Mixtral-Offloading's code runs (dvmazur/mixtral-offloading @ce54518, `ExpertCache._swap`).
    """

    write_back: bool = False

    part: ClassVar[str] = "in_line"

    def check(self, others: Composition) -> None:
        """Refuse prefetches, which nobody waits for, and systems that move nothing."""
        if not others.prefetch.does_nothing:
            raise BadInput(
                "transfer.part=in_line carries nothing ahead; set prefetch.part=none in place of "
                f"{others.prefetch.part}"
            )
        if others.residency.moves_nothing:
            raise BadInput(
                f"residency.part={others.residency.part} moves nothing, which transfer.part=in_line would; "
                "set transfer.part=beside"
            )

    def host_only(self, virtual: bool) -> str | None:
        """On a virtual clock copies have no time."""
        return None if virtual else "transfer.part=in_line copies on the host's clock so far; set model.device=cpu"

    def taking_turns(self) -> InLinePart | None:
        """They do."""
        return self
