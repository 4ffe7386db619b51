"""AdapMoE (arXiv 2408.10284): its predictor, its cache and its gating."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from systems.contract.errors import BadInput
from systems.contract.options import require
from systems.methods.adapmoe.adaptive_layers import AdaptiveLayers
from systems.methods.adapmoe.next_gate import Division, NextGate
from systems.policies.decoding_part import GatingPart
from systems.policies.listening import Listener
from systems.policies.orders import Shape
from systems.policies.part import HintingPart, ResidencyPart
from systems.policies.plain_parts import NextLayersPart
from systems.policies.residency import Residency

if TYPE_CHECKING:
    from systems.policies.composition import Composition
    from systems.runtime.site import LiveSite, Site


@dataclass(frozen=True, slots=True)
class NextGatePart(HintingPart):
    """`predictor.part: next_gate`: AdapMoE's predictor. It orders experts `when` that `pays` by what the warm-up has
    shown, or `always`, as the released code does."""

    when: Literal["pays", "always"] = "pays"

    part: ClassVar[str] = "next_gate"
    acts_through: ClassVar[str] = "next_layers"

    def build(self, site: Site) -> Listener:
        """Make the predictor, which divides the slots of its own cache after the warm-up."""
        prefetch = site.composition.prefetch
        assert isinstance(prefetch, NextLayersPart)
        always, division = self.when == "always", _division(site)
        gate = NextGate(site.predict(), site.hinting, site.shape, prefetch.depth, site.hides, always, division)
        site.note(gate.describe)
        return gate


def _division(site: Site) -> Division | None:
    part, residency, top_k = site.composition.residency, site.residency, site.model.top_k
    if not (isinstance(part, AdaptiveLayersPart) and isinstance(residency, AdaptiveLayers)):
        return None
    return Division(residency, top_k, part.room(site.shape, top_k))


@dataclass(frozen=True, slots=True)
class AdaptiveLayersPart(ResidencyPart):
    """`residency.part: adaptive_layers`: LRU per layer, slots divided by AdapMoE's dynamic programme, and at most
    `buffer` slots for prefetches, paid from the budget like all. The released code has 6 beside 64 to 128 others."""

    buffer: int = 6

    part: ClassVar[str] = "adaptive_layers"

    def __post_init__(self) -> None:
        require(self.buffer >= 1, "residency.buffer", self.buffer, "at least 1: prefetches land in it")

    def check(self, others: Composition) -> None:
        """Refuse predictors that say nothing of how slots are to be divided."""
        if others.predictor.part != "next_gate":
            raise BadInput(
                "residency.part=adaptive_layers divides the slots by what next_gate has foretold, and predictor.part="
                f"{others.predictor.part} foretells nothing of that; set predictor.part=next_gate, or "
                "residency.part=lru"
            )

    def room(self, shape: Shape, top_k: int) -> int:
        """Slots for the buffer: no more than are left when every layer has as many as a token uses, but one."""
        return max(1, min(self.buffer, shape.slots - shape.layers * top_k))

    def build(self, site: Site) -> Residency:
        """Make the policy, with an even division until the warm-up has been profiled."""
        policy = AdaptiveLayers(site.shape, self.room(site.shape, site.model.top_k))
        site.note(lambda: {"slots_by_layer": list(policy.quotas), "prefetch_buffer": policy.buffer})
        return policy


@dataclass(frozen=True, slots=True)
class AdaptiveGatingPart(GatingPart):
    """`gating.part: adaptive`: leave out experts with little weight (lossy); see `systems.methods.adapmoe.gating`."""

    tolerance: float = 0.005

    part: ClassVar[str] = "adaptive"
    profiles: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.tolerance > 0, "gating.tolerance", self.tolerance, "positive")

    def build(self, site: LiveSite, mixer: Any) -> Any:
        """Make what leaves experts out."""
        from systems.methods.adapmoe.gating import AdaptiveGating

        gating = AdaptiveGating(mixer, site.shape.layers, self.tolerance)
        site.note(lambda: {"gating_thresholds": [round(t, 4) for t in gating.thresholds]})
        return gating
