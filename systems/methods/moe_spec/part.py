"""MoE-Spec: verifications read a budget of experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from systems.contract.errors import BadInput
from systems.contract.options import require
from systems.policies.decoding_part import GatingPart

if TYPE_CHECKING:
    from systems.policies.composition import Composition
    from systems.runtime.site import LiveSite


@dataclass(frozen=True, slots=True)
class ExpertBudgetPart(GatingPart):
    """`gating.part: expert_budget`: verifications read at most `experts` per layer (lossy); see
    `systems.methods.moe_spec.expert_budget`."""

    experts: int = 4

    part: ClassVar[str] = "expert_budget"

    def __post_init__(self) -> None:
        require(self.experts >= 1, "gating.experts", self.experts, "at least 1")

    def check(self, others: Composition) -> None:
        """Refuse systems that verify nothing."""
        if others.drafter.does_nothing:
            raise BadInput("gating.part=expert_budget limits what a verification reads; set drafter.part=model")

    def build(self, site: LiveSite, mixer: Any) -> Any:
        """Make what leaves experts out.

        Raises:
            BadInput: fewer experts than a token uses, or more than a layer has.
        """
        from systems.methods.moe_spec.expert_budget import ExpertBudget

        least, most, cache = site.model.top_k, site.shape.experts, site.cache
        expected = f"between the router's {least} and all {most}"
        require(least <= self.experts <= most, "gating.experts", self.experts, expected)
        return ExpertBudget(mixer, site.pair.routers, self.experts, lambda: cache.streaming)
