"""Parts of no paper in particular."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from systems.contract.costs import HostCosts
from systems.contract.errors import BadInput
from systems.contract.options import require
from systems.policies.memory import Memory
from systems.policies.part import FetchingPart, PlacementPart, ResidencyPart
from systems.policies.residency import LayeredLru, Lru, Residency, StaticHot

if TYPE_CHECKING:
    from systems.policies.composition import Composition


@dataclass(frozen=True, slots=True)
class NothingKeptPart(ResidencyPart):
    """`residency.part: none`: nothing stays."""

    part: ClassVar[str] = "none"
    keeps_nothing: ClassVar[bool] = True

    def build(self, site: Any) -> Residency:
        """Make a policy for what is on its way."""
        return Lru()


@dataclass(frozen=True, slots=True)
class AllResidentPart(ResidencyPart):
    """`residency.part: all`: every expert has a slot, whatever the budget says: the upper bound."""

    part: ClassVar[str] = "all"
    keeps_all: ClassVar[bool] = True
    moves_nothing: ClassVar[bool] = True

    def afford(self, memory: Memory, optional: bool) -> tuple[int, int]:
        """One for each expert."""
        return memory.experts, memory.experts

    def build(self, site: Any) -> Residency:
        """Make a policy, which nobody asks."""
        return Lru()


@dataclass(frozen=True, slots=True)
class LruPart(ResidencyPart):
    """`residency.part: lru`. `scope` `layer` divides the slots evenly among layers (as published), `global` keeps one
    order over all of them. `slots` caps the number of slots below what the budget affords."""

    scope: Literal["layer", "global"] = "layer"
    slots: int | None = None

    part: ClassVar[str] = "lru"

    def most_slots(self, memory: Memory) -> int | None:
        """As it is told."""
        return self.slots

    def build(self, site: Any) -> Residency:
        """Make the policy."""
        if self.scope == "global":
            return Lru()
        layered = LayeredLru(site.shape)
        site.note(lambda: {"slots_by_layer": list(layered.quotas)})
        return layered


@dataclass(frozen=True, slots=True)
class StaticHotPart(ResidencyPart):
    """`residency.part: static_hot`: the experts that were most popular in the warm-up."""

    part: ClassVar[str] = "static_hot"

    def build(self, site: Any) -> Residency:
        """Make the policy."""
        return StaticHot(site.shape)


@dataclass(frozen=True, slots=True)
class CpuPart(PlacementPart):
    """`placement.part: cpu`: missing experts may be computed where they lie.

    Attributes:
        token_share: let the host take so much of an expert's transfer for each of its rows, in place of what the
            hardware profile says (Fiddler's released placement reckons 7 : 70); null: what the profile says.
        balance: let the host compute experts that are in fast memory, too, where a layer is done sooner so: slow memory
            holds all of them, and the device takes one after the other.
    """

    token_share: float | None = None
    balance: bool = False

    part: ClassVar[str] = "cpu"

    def check(self, others: Composition) -> None:
        """Refuse attention that takes its processor."""
        if others.attention.micro_batches > 1:
            raise BadInput("placement.part=cpu takes the processor of chunked attention; set attention.micro_batches=1")

    def host(self, site: Any) -> HostCosts | None:
        """What the costs say, or a share of a transfer."""
        if site.costs.host is None:
            raise BadInput("placement.part=cpu needs what the host takes, which these costs do not say; record it "
                           "among the systems, or name timed_by of a run that had it")  # fmt: skip
        return self.costs(site.costs.host, site.costs.transfer)

    def costs(self, host: HostCosts, transfer: float) -> HostCosts:
        """What the host takes, where a transfer takes `transfer` seconds."""
        if self.token_share is None:
            return host
        return HostCosts(0.0, self.token_share * transfer)


@dataclass(frozen=True, slots=True)
class NextLayersPart(FetchingPart):
    """`prefetch.part: next_layers`: fetch what is predicted for the layers ahead, `depth` of them at most."""

    depth: int = 2

    part: ClassVar[str] = "next_layers"

    def __post_init__(self) -> None:
        FetchingPart.__post_init__(self)
        require(self.depth >= 1, "prefetch.depth", self.depth, "at least 1")
