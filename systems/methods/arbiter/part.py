"""Transfers only where they pay: the parts of the arbiter, and those that follow use in background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from systems.contract.errors import BadInput
from systems.contract.options import require
from systems.methods.arbiter.admission import Admission
from systems.methods.arbiter.arbitration import Arbiter, Arbitrated
from systems.methods.arbiter.value import DECAYS, Value
from systems.policies.depth import Depth
from systems.policies.hinting import Prefetcher
from systems.policies.listening import Listener
from systems.policies.part import FetchingPart, HintingPart, ResidencyPart, Switch
from systems.policies.residency import Residency

if TYPE_CHECKING:
    from systems.policies.composition import Composition
    from systems.runtime.site import LiveSite, Site


@dataclass(frozen=True, slots=True)
class ValuePart(ResidencyPart):
    """`residency.part: value`: who is expected to be used least goes.

    A use weighs `decay` times as much after each forward; `auto` takes the decay with which the warm-up's uses were
    foretold best. With `prior` the warm-up's popularity is where the counts of a generation start from, without they
    start from nothing.
    """

    decay: float | Literal["auto"] = "auto"
    prior: bool = True

    part: ClassVar[str] = "value"

    def __post_init__(self) -> None:
        valid = self.decay == "auto" or (isinstance(self.decay, float) and 0 < self.decay < 1)
        require(valid, "residency.decay", self.decay, "auto, or between 0 and 1")

    def build(self, site: Site) -> Residency:
        """Make the policy."""
        value = Value(site.shape, DECAYS if self.decay == "auto" else (float(self.decay),), self.prior)
        site.note(value.describe)
        return value


@dataclass(frozen=True, slots=True)
class ArbitratedPart(FetchingPart):
    """`prefetch.part: arbitrated`: a hint is followed where it pays; see `Arbiter`.

    `hints` says whether any is, or leaves that to the warm-up (`auto`): asking for them takes time that not every
    machine gets back. `promotions` says whether an idle link fetches the absent expert of most value.
    """

    hints: bool | Literal["auto"] = "auto"
    promotions: bool = True

    part: ClassVar[str] = "arbitrated"

    def check(self, others: Composition) -> None:
        """Refuse an arbiter that does not know what experts are worth."""
        if others.residency.part != "value":
            raise BadInput(
                "prefetch.part=arbitrated weighs experts by what residency.part=value knows of them; set both"
            )

    def reach(self, layers: int) -> Depth | None:
        """Hints of the draft are about all layers, where any is followed."""
        return Depth(layers if self.hints else 0, layers)

    def build(self, site: Site) -> Prefetcher:
        """Make the arbiter."""
        assert isinstance(site.residency, Value)
        transfer = site.costs.transfer
        arbiter = Arbiter(site.cache, site.residency, site.shape, transfer, bool(self.hints), self.promotions)
        return Arbitrated(arbiter)

    def optional(self, site: Site) -> Switch | None:
        """Ask draft and gates, or neither."""
        if self.hints != "auto":
            return None
        assert isinstance(site.prefetcher, Arbitrated)
        arbiter, layers = site.prefetcher.arbiter, site.shape.layers

        def switch(parts: Any, on: bool) -> None:
            arbiter.hints, parts.depth.layers = on, layers if on else 0

        return switch


@dataclass(frozen=True, slots=True)
class DraftAndGatesPart(HintingPart):
    """`predictor.part: draft_and_gates`: two predictors together. With `draft` the draft's attention names experts
    while it drafts, and during every forward the gates of the next `ahead` layers do; 0: they do not."""

    draft: bool = True
    ahead: int = 2

    part: ClassVar[str] = "draft_and_gates"
    acts_through: ClassVar[str] = "arbitrated"

    def __post_init__(self) -> None:
        require(self.ahead >= 0, "predictor.ahead", self.ahead, "at least 0")

    def check(self, others: Composition) -> None:
        """Refuse to listen to a draft that is not there."""
        HintingPart.check(self, others)
        if self.draft and not others.drafter.needs_draft:
            raise BadInput(
                "predictor.draft=true listens to the drafter; set drafter.part=model, or predictor.draft=false"
            )

    def build(self, site: Site) -> Listener:
        """Let the arbiter ask the gates of the layers ahead."""
        assert isinstance(site.prefetcher, Arbitrated)
        arbiter, hinting, predict = site.prefetcher.arbiter, site.hinting, site.predict()
        last = site.shape.layers - 1

        def look(layer: int, hidden: Any) -> None:
            for later in range(layer + 1, min(layer + self.ahead, last) + 1):
                if arbiter.reaches(later):
                    hinting.prefetch(later, predict(later, hidden))

        arbiter.look = look
        return arbiter

    def draft_listener(self, site: LiveSite, depth: Any) -> Any:
        """Make what hears the draft's attention."""
        from systems.methods.sp_moe.draft_attention import DraftAttention

        return DraftAttention(site.pair, depth, site.hinting.prefetch) if self.draft else None


@dataclass(frozen=True, slots=True)
class MissedPart(HintingPart):
    """`predictor.part: missed`: what a layer has just missed and computed in slow memory will be needed again."""

    part: ClassVar[str] = "missed"
    acts_through: ClassVar[str] = "idle_link"

    def check(self, others: Composition) -> None:
        """Refuse to admit what nobody computes in slow memory."""
        HintingPart.check(self, others)
        if others.placement.does_nothing:
            raise BadInput("predictor.part=missed admits what was computed in slow memory; set placement.part=cpu")

    def build(self, site: Site) -> Listener:
        """Make the predictor."""
        prefetch = site.composition.prefetch
        assert isinstance(prefetch, IdleLinkPart)
        return Admission(site.hinting, prefetch.most)


@dataclass(frozen=True, slots=True)
class IdleLinkPart(FetchingPart):
    """`prefetch.part: idle_link`: fetch `most` experts per layer and forward, and none while the link is busy."""

    most: int = 2

    part: ClassVar[str] = "idle_link"

    def __post_init__(self) -> None:
        FetchingPart.__post_init__(self)
        require(self.most >= 1, "prefetch.most", self.most, "at least 1")
