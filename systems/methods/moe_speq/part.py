"""MoE-SpeQ (arXiv 2511.14102): INT4 copies that draft, fetching what they name, and the governor of draft lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from systems.contract.errors import BadInput, DidNotFit
from systems.contract.options import INT4_GROUPS, require, require_length
from systems.drafters.part import SelfDrafterPart
from systems.methods.moe_speq.governor import CycleCosts, Roofline
from systems.methods.moe_speq.lookahead import Lookahead, LookaheadScheduler, Phases, Schedule
from systems.policies.decoding_part import GovernorPart
from systems.policies.draft_lengths import DraftGovernor
from systems.policies.memory import Memory
from systems.policies.part import FetchingPart, HintingPart, ResidencyPart
from systems.policies.residency import Lru, Residency

if TYPE_CHECKING:
    from systems.policies.composition import Composition
    from systems.runtime.drafting import Drafter
    from systems.runtime.pair import Pair
    from systems.runtime.site import LiveSite, Site


@dataclass(frozen=True, slots=True)
class QuantisedSelfPart(SelfDrafterPart):
    """`drafter.part: quantised_self`: the target with INT4 experts, `group` weights to a scale, drafts for itself."""

    group: int = 128

    part: ClassVar[str] = "quantised_self"

    def __post_init__(self) -> None:
        require_length("drafter", self.draft_length)
        require(self.group in INT4_GROUPS, "drafter.group", self.group, "32, 64, 128 or 256")

    @property
    def int4_group(self) -> int | None:
        """As it is told."""
        return self.group

    def fast_bytes(self, pair: Pair) -> int:
        """The copies."""
        return _copies_bytes(self.group, pair)

    def build(self, site: LiveSite) -> Drafter:
        """Make the drafter; where time is real, it is timed first."""
        from systems.methods.moe_speq.drafter import QuantisedSelf
        from systems.methods.moe_speq.quantised import QuantisedExperts
        from systems.runtime.timing import draft_token_time

        experts = QuantisedExperts(site.pair.store, self.group, site.device)
        token = self.token_time(site) if site.clock.virtual else draft_token_time(site.pair, experts)
        site.govern(self.draft_length, token)
        layer = token / site.model.decoder_layers
        return QuantisedSelf(site.pair.port, experts, self.draft_length, site.scheduler, site.pace, layer)


@dataclass(frozen=True, slots=True)
class Int4Part(ResidencyPart):
    """`residency.part: int4`: an INT4 copy of every expert, `group` weights to a scale, is all there is (lossy)."""

    group: int = 128

    part: ClassVar[str] = "int4"
    moves_nothing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.group in INT4_GROUPS, "residency.group", self.group, "32, 64, 128 or 256")

    @property
    def int4_group(self) -> int | None:
        """As it is told."""
        return self.group

    def check(self, others: Composition) -> None:
        """Refuse to foretell what never moves."""
        if not others.predictor.does_nothing:
            raise BadInput(
                f"residency.part=int4 moves nothing, so predictor.part={others.predictor.part} would; set it to none"
            )

    def untold(self) -> str | None:
        """Other outputs are not in the trace."""
        return "residency.part=int4 changes what is generated, which a trace cannot tell"

    def copies_bytes(self, pair: Pair) -> int:
        """Of all experts."""
        return _copies_bytes(self.group, pair)

    def afford(self, memory: Memory, optional: bool) -> tuple[int, int]:
        """No slot."""
        if memory.draft_bytes > memory.budget_bytes:
            raise DidNotFit(
                f"budget {memory.budget_bytes:,} B is below {memory.draft_bytes:,} B: all experts in INT4, and a draft"
            )
        return 0, 0

    def build(self, site: Site) -> Residency:
        """Make a policy, which nobody asks."""
        return Lru()

    def mixer(self, site: LiveSite) -> Any:
        """Make what computes with the copies."""
        from systems.methods.moe_speq.quantised import QuantisedExperts

        return QuantisedExperts(site.pair.store, self.group, site.device)


def _copies_bytes(group: int, pair: Pair) -> int:
    from systems.contract.shape import int4_bytes
    from systems.methods.moe_speq.quantised import check

    shape = pair.store.shape
    check(shape.hidden, shape.intermediate, group, pair.target.device)
    return shape.count * int4_bytes(shape.hidden, shape.intermediate, group)


@dataclass(frozen=True, slots=True)
class LookaheadBufferPart(HintingPart):
    """`predictor.part: lookahead_buffer`: MoE-SpeQ's, the routing of the quantised draft."""

    part: ClassVar[str] = "lookahead_buffer"
    acts_through: ClassVar[str] = "phases"
    listens_to: ClassVar[str | None] = "quantised_self"

    def scheduler(self, site: Site, token_time: float) -> LookaheadScheduler:
        """Make what fetches what the draft's routing names."""
        prefetch = site.composition.prefetch
        assert isinstance(prefetch, PhasesPart)
        return LookaheadScheduler(Phases(prefetch.schedule, token_time, site.costs.transfer), site.hinting)


@dataclass(frozen=True, slots=True)
class PhasesPart(FetchingPart):
    """`prefetch.part: phases`: MoE-SpeQ's scheduler; see `systems.methods.moe_speq.lookahead.Phases`."""

    schedule: Schedule = "three_phase"

    part: ClassVar[str] = "phases"


@dataclass(frozen=True, slots=True)
class LookaheadPart(ResidencyPart):
    """`residency.part: lookahead`: MoE-SpeQ's."""

    part: ClassVar[str] = "lookahead"

    def build(self, site: Site) -> Residency:
        """Make the policy."""
        return Lookahead(site.shape.experts)


@dataclass(frozen=True, slots=True)
class RooflinePart(GovernorPart):
    """`governor.part: roofline`: every step drafts as many tokens as MoE-SpeQ's roofline wants, at most
    `drafter.draft_length`, and where `latency` is given no more than what fits a cycle of so many seconds."""

    latency: float | None = None

    part: ClassVar[str] = "roofline"

    def __post_init__(self) -> None:
        require(self.latency is None or self.latency > 0, "governor.latency", self.latency, "positive (seconds)")

    def build(self, site: Site, longest: int, token_time: float) -> DraftGovernor:
        """Make the governor, which reckons with what a scheduler fetches."""
        costs, layers, scheduler = site.costs, site.model.decoder_layers, site.scheduler
        cycle = CycleCosts(
            draft_base=0.0,
            draft_token=token_time,
            verify=lambda width: layers * costs.at(costs.target_layer, width),
            first_fetch=costs.transfer if scheduler is not None else 0.0,
            overhead=costs.call if scheduler is not None else 0.0,
            transfer=costs.transfer,
        )
        return Roofline(cycle, longest, self.latency, lambda: scheduler.fresh if scheduler is not None else ())
