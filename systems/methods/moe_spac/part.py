"""MoE-SpAc (arXiv 2603.09983): counters that fetch and evict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from systems.contract.errors import BadInput
from systems.contract.options import require
from systems.methods.moe_spac.row_counters import HIGHEST, CountedPrefetch, RowCounters
from systems.policies.listening import Listener
from systems.policies.part import HintingPart, ResidencyPart
from systems.policies.residency import Residency

if TYPE_CHECKING:
    from systems.policies.composition import Composition
    from systems.runtime.site import Site


@dataclass(frozen=True, slots=True)
class RowCountersPart(ResidencyPart):
    """`residency.part: row_counters`: see `RowCounters`."""

    part: ClassVar[str] = "row_counters"

    def check(self, others: Composition) -> None:
        """Refuse one without the other."""
        _check_both(others)

    def build(self, site: Site) -> Residency:
        """Make the policy."""
        return RowCounters(site.shape)


@dataclass(frozen=True, slots=True)
class RowCountersPredictorPart(HintingPart):
    """`predictor.part: row_counters`: MoE-SpAc's; experts whose counter has reached the `threshold` are wanted."""

    threshold: int = 1

    part: ClassVar[str] = "row_counters"
    acts_through: ClassVar[str] = "priority"

    def __post_init__(self) -> None:
        require(1 <= self.threshold <= HIGHEST, "predictor.threshold", self.threshold, f"from 1 to {HIGHEST}")

    def check(self, others: Composition) -> None:
        """Refuse one without the other."""
        HintingPart.check(self, others)
        _check_both(others)

    def build(self, site: Site) -> Listener:
        """Make the predictor."""
        assert isinstance(site.residency, RowCounters)
        return CountedPrefetch(site.residency, site.hinting, site.shape, self.threshold)


def _check_both(others: Composition) -> None:
    if not others.residency.part == others.predictor.part == RowCountersPart.part:
        raise BadInput("residency.part=row_counters and predictor.part=row_counters go together: set both, or neither")
