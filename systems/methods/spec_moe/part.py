"""SpecMoE (arXiv 2604.10152): pinned experts draft; and its baseline, which knows the next layer's needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from systems.contract.errors import BadInput
from systems.contract.options import require
from systems.drafters.part import SelfDrafterPart
from systems.methods.spec_moe.affinity import Affinity, shuffled
from systems.methods.spec_moe.pregated import NextNeeds
from systems.methods.spec_moe.repinning import Choice, PinnedExperts
from systems.policies.listening import Listener
from systems.policies.memory import Memory
from systems.policies.part import HintingPart, ResidencyPart
from systems.policies.residency import Residency

if TYPE_CHECKING:
    from systems.policies.composition import Composition
    from systems.runtime.drafting import Drafter
    from systems.runtime.site import LiveSite, Site


@dataclass(frozen=True, slots=True)
class ResidentSelfPart(SelfDrafterPart):
    """`drafter.part: resident_self`: the target with its pinned experts only drafts for itself.

    `routing` chooses who stands in for an expert that is not pinned: the one with the nearest weights, or any.
    """

    routing: Literal["affinity", "random"] = "affinity"

    part: ClassVar[str] = "resident_self"

    def check(self, others: Composition) -> None:
        """Refuse what would move the experts that the target drafts with, or compute others."""
        if others.residency.part != PinnedPart.part:
            raise BadInput("drafter.part=resident_self drafts with the experts that stay; set residency.part=pinned")
        for other in (others.prefetch, others.placement, others.gating):
            if not other.does_nothing:
                raise BadInput(
                    f"{other.kind}.part={other.part} does not go with drafter.part=resident_self; "
                    f"set {other.kind}.part=none"
                )

    def untold(self) -> str | None:
        """Who is pinned is a matter of the budget."""
        return "drafter.part=resident_self drafts with what happens to be in fast memory, which a trace cannot tell"

    def build(self, site: LiveSite) -> Drafter:
        """Make the drafter."""
        from systems.methods.spec_moe.drafter import ResidentSelf, nearest_experts

        assert isinstance(site.residency, PinnedExperts)
        near = nearest_experts(site.pair.store) if self.routing == "affinity" else shuffled(site.shape)
        affinity = Affinity(near, site.residency.pinned)
        return ResidentSelf(site.pair.port, site.cache, self.draft_length, affinity, site.pace)


@dataclass(frozen=True, slots=True)
class PinnedPart(ResidencyPart):
    """`residency.part: pinned`: see `PinnedExperts`.

    With `keep_others` all slots that the budget affords are used; without, only those of the pinned experts and of one
    token's others, which stream past.
    """

    per_layer: int = 4
    choice: Choice = "hot_temporal"
    keep_others: bool = True

    part: ClassVar[str] = "pinned"

    def __post_init__(self) -> None:
        require(self.per_layer >= 1, "residency.per_layer", self.per_layer, "at least 1")

    @property
    def pinned_per_layer(self) -> int:
        """As it is told."""
        return self.per_layer

    def most_slots(self, memory: Memory) -> int | None:
        """Without the others, one token's beside the pinned ones."""
        return None if self.keep_others else self.per_layer * memory.layers + memory.top_k

    def check_model(self, others: Composition, top_k: int, experts: int) -> None:
        """Refuse to pin more experts than a layer has, or to draft with fewer than a token uses."""
        least = top_k if others.drafter.part == ResidentSelfPart.part else 1
        if not least <= self.per_layer <= experts:
            raise BadInput(
                f"residency.per_layer={self.per_layer} must be from {least} to {experts}: a token uses"
                f" {top_k} of the {experts} experts of a layer, and drafts are computed by those that are pinned"
            )

    def build(self, site: Site) -> Residency:
        """Make the policy."""
        return PinnedExperts(site.shape, self.per_layer, self.choice)


@dataclass(frozen=True, slots=True)
class NextNeedsPart(HintingPart):
    """`predictor.part: next_needs`: the next layer's needs, known from a rehearsal: Pre-gated MoE made oracular."""

    part: ClassVar[str] = "next_needs"
    acts_through: ClassVar[str] = "in_order"

    def build(self, site: Site) -> Listener:
        """Make the predictor."""
        return NextNeeds(site.hinting)
