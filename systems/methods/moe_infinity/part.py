"""MoE-Infinity (arXiv 2401.14361): its predictor and caches, the paper's and that of the released code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from systems.contract.options import require
from systems.methods.moe_infinity.activation import ActivationAware, ActivationMatrices, IdleLink
from systems.methods.moe_infinity.matching import ActivationMatching
from systems.methods.moe_infinity.traces import CAPACITY, DISTANCE, MATCHES, Traces
from systems.methods.moe_infinity.visit_count import VisitCount
from systems.policies.listening import Listener
from systems.policies.part import FetchingPart, HintingPart, ResidencyPart
from systems.policies.residency import Residency

if TYPE_CHECKING:
    from systems.runtime.site import Site


@dataclass(frozen=True, slots=True)
class ActivationMatrixPart(HintingPart):
    """`predictor.part: activation_matrix`: MoE-Infinity's predictor.

    `traces` says where the activation matrices of earlier sequences are from: `model`, the file that the model's config
    names (`activations`; where it names none, the warm-up), or `warm_up` in any case. At most `capacity` of them are
    kept. The `matches` nearest ones predict together, those within `distance` (one less the mean cosine over layers).
    """

    traces: Literal["model", "warm_up"] = "model"
    capacity: int = CAPACITY
    matches: int = MATCHES
    distance: float = DISTANCE

    part: ClassVar[str] = "activation_matrix"
    acts_through: ClassVar[str] = "priority"

    def __post_init__(self) -> None:
        require(self.capacity >= 1, "predictor.capacity", self.capacity, "at least 1")
        require(self.matches >= 1, "predictor.matches", self.matches, "at least 1")
        require(0 <= self.distance <= 1, "predictor.distance", self.distance, "from 0 to 1")

    @property
    def wants_activations(self) -> bool:
        """From the model's file."""
        return self.traces == "model"

    def build(self, site: Site) -> Listener:
        """Make the predictor, which knows how long the link is idle; one at no cost carries all there is."""
        matrices, transfer, slots = _matrices(site), site.costs.transfer, site.shape.slots
        link = IdleLink(matrices, site.shape, site.cache.slots.owner)
        if isinstance(site.residency, ActivationAware):
            site.residency.link = link
        _note(site, matrices)
        if not transfer:
            return ActivationMatching(matrices, site.hinting, link, lambda tokens: slots)
        drafter = site.composition.drafter
        drafting = drafter.draft_length * drafter.token_time(site)
        return ActivationMatching(matrices, site.hinting, link, site.hides, drafting / transfer)


def _matrices(site: Site) -> ActivationMatrices:
    """The matrices that predictor and residency share."""

    def make() -> ActivationMatrices:
        predictor, traces = site.composition.predictor, Traces(site.shape)
        if isinstance(predictor, ActivationMatrixPart):
            traces = Traces(site.shape, predictor.capacity, predictor.matches, predictor.distance)
            if site.stored is not None:
                traces.fill(site.stored.counts)
        width = 1 + site.composition.drafter.draft_length
        return ActivationMatrices(site.shape, site.model.top_k, traces, width)

    return site.shared(ActivationMatrices, make)


def _note(site: Site, matrices: ActivationMatrices) -> None:
    source = "warm-up" if site.stored is None else site.stored.source
    site.note(lambda: {"traces": len(matrices.traces), "traces_from": source})


@dataclass(frozen=True, slots=True)
class PriorityPart(FetchingPart):
    """`prefetch.part: priority`: fetch by the predictor's priority. For `activation_matrix` it is planned anew after
    every layer, what an idle link has time for and what is worth it (`IdleLink`); for
    `row_counters` between two forwards, all that its counters want."""

    part: ClassVar[str] = "priority"


@dataclass(frozen=True, slots=True)
class ActivationAwarePart(ResidencyPart):
    """`residency.part: activation_aware`: MoE-Infinity's. `decay` lets experts of later layers count for less, as the
    paper does."""

    decay: bool = False

    part: ClassVar[str] = "activation_aware"
    in_parts: ClassVar[bool] = False

    def build(self, site: Site) -> Residency:
        """Make the policy."""
        return ActivationAware(_matrices(site), site.shape, self.decay)

    def listener(self, site: Site) -> Listener:
        """Make what fills the matrices."""
        matrices = _matrices(site)
        _note(site, matrices)
        return ActivationMatching(matrices, site.hinting)


@dataclass(frozen=True, slots=True)
class VisitCountPart(ResidencyPart):
    """`residency.part: visit_count`: MoE-Infinity's released cache; `activation_aware` is its paper's."""

    part: ClassVar[str] = "visit_count"
    in_parts: ClassVar[bool] = False

    def build(self, site: Site) -> Residency:
        """Make the policy."""
        return VisitCount(site.shape, site.model.top_k)
