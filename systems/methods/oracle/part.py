"""The oracle: it rehearses a generation, and knows what is needed when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from systems.contract.costs import HostCosts
from systems.contract.errors import BadInput
from systems.methods.oracle.belady import Belady, Future
from systems.methods.oracle.foresight import Foresight
from systems.methods.oracle.scheduled_placement import ScheduledPlacement
from systems.methods.oracle.stage import Stage
from systems.policies.listening import Listener
from systems.policies.part import FetchingPart, HintingPart, ResidencyPart
from systems.policies.placement import Placement
from systems.policies.residency import Residency

if TYPE_CHECKING:
    from systems.cache.clock import VirtualClock
    from systems.cache.expert_cache import ExpertCache
    from systems.policies.composition import Composition
    from systems.runtime.site import Site


@dataclass(frozen=True, slots=True)
class BeladyPart(ResidencyPart):
    """`residency.part: belady`: the oracle's; needs predictor.part=rehearsal."""

    part: ClassVar[str] = "belady"
    knows_future: ClassVar[bool] = True

    def check(self, others: Composition) -> None:
        """Refuse one without the other."""
        _check_both(others)

    def build(self, site: Site) -> Residency:
        """Make the policy."""
        return Belady(_future(site), site.shape.slots)

    def placement(self, site: Site, host: HostCosts) -> Placement:
        """Make what follows the schedule."""
        return ScheduledPlacement(host, site.costs.transfer, _future(site))


@dataclass(frozen=True, slots=True)
class RehearsalPart(HintingPart):
    """`predictor.part: rehearsal`: the oracle's; the same requests are run before, unmeasured."""

    part: ClassVar[str] = "rehearsal"
    acts_through: ClassVar[str] = "in_order"

    def check(self, others: Composition) -> None:
        """Refuse one without the other."""
        HintingPart.check(self, others)
        _check_both(others)

    def build(self, site: Site) -> Listener:
        """Make what follows the course."""
        director, record = stage(site), site.model.record_bytes
        owners, experts = site.cache.slots.owner, site.shape.experts
        foresight = Foresight(_future(site), site.hinting, owners, director, site.clock, experts)
        site.note(lambda: {"schedules": dict(foresight.chosen), "fewest_bytes": foresight.fewest * record})
        return foresight


@dataclass(frozen=True, slots=True)
class InOrderPart(FetchingPart):
    """`prefetch.part: in_order`: fetch what is needed next, as far ahead as there are slots."""

    part: ClassVar[str] = "in_order"


def stage(site: Site) -> Stage:
    """Make a cache like a system's, for schedules to be tried."""
    link, host = site.emulated_link, site.composition.placement.host(site)

    def build(future: Future, clock: VirtualClock) -> ExpertCache:
        placement = None if host is None else ScheduledPlacement(host, site.costs.transfer, future)
        return site.imagined_cache(clock, Belady(future, site.shape.slots), placement)

    transfer = link.latency + site.model.record_bytes / link.bandwidth
    return Stage(site.shape, site.costs, transfer, None if host is None else host.at, build)


def _future(site: Site) -> Future:
    """What eviction, placement and prefetching all go by."""
    return site.shared(Future, lambda: Future(site.shape))


def _check_both(others: Composition) -> None:
    if (others.residency.part, others.predictor.part) != (BeladyPart.part, RehearsalPart.part):
        raise BadInput("residency.part=belady and predictor.part=rehearsal go together: set both, or neither")
