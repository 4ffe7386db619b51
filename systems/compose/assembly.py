"""Putting the parts of one system together: what live and replayed systems have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Protocol

from systems.cache.clock import Clock, Pace, SkippingClock, VirtualClock, WallClock
from systems.cache.expert_cache import ExpertCache
from systems.cache.in_place import Elsewhere
from systems.cache.ledger import Ledger
from systems.cache.occupancy import Occupancy
from systems.cache.options import InLineOptions
from systems.cache.transport import EmulatedLink, Transport
from systems.compose.composed import Depth, Parts
from systems.compose.options.computing import ChunkedAttentionOptions
from systems.compose.options.drafters import CascadeOptions, ModelDrafterOptions, PromptLookupOptions, RooflineOptions
from systems.compose.options.prefetching import (
    ActivationMatrixOptions,
    CutoffPrefetchOptions,
    LayerStreamOptions,
    LookaheadBufferOptions,
    MissedOptions,
    NextGateOptions,
    NextNeedsOptions,
    RehearsalOptions,
    RowCountersPredictorOptions,
)
from systems.compose.options.residency import ActivationAwareOptions, AllResidentOptions, BeladyOptions, Int4Options
from systems.compose.parts import Options
from systems.contract.costs import Costs, HostCosts, LinkSpec
from systems.contract.errors import BadInput
from systems.contract.options import NoPart, PrefetchOptions
from systems.methods.adapmoe.adaptive_layers import AdaptiveLayers, AdaptiveLayersOptions
from systems.methods.adapmoe.next_gate import Division, NextGate
from systems.methods.arbiter.admission import Admission
from systems.methods.arbiter.arbitration import Arbiter, ArbitratedOptions
from systems.methods.arbiter.retention import Retention
from systems.methods.arbiter.value import Value
from systems.methods.cascade.governor import Cascade
from systems.methods.moe_infinity.activation import ActivationAware, ActivationMatrices, IdleLink
from systems.methods.moe_infinity.matching import ActivationMatching, Predict
from systems.methods.moe_infinity.traces import Traces
from systems.methods.moe_infinity.visit_count import VisitCount, VisitCountOptions
from systems.methods.moe_spac.row_counters import CountedPrefetch, RowCounters
from systems.methods.moe_speq.governor import CycleCosts, Roofline
from systems.methods.moe_speq.lookahead import LookaheadScheduler, Phases
from systems.methods.oracle.belady import Belady, Future
from systems.methods.oracle.foresight import Foresight
from systems.methods.oracle.scheduled_placement import ScheduledPlacement
from systems.methods.oracle.stage import Stage
from systems.methods.sp_moe.chosen_by_replay import CutoffSearch, Twin
from systems.methods.sp_moe.warm_up import WarmUp
from systems.methods.spec_moe.pregated import NextNeeds
from systems.methods.spec_moe_off.streaming import Absent, LayerStream, StreamingOptions
from systems.policies.draft_lengths import DraftGovernor
from systems.policies.hinting import Hinting
from systems.policies.listening import Listener
from systems.policies.orders import Shape
from systems.policies.placement import CpuOptions, Placement
from systems.policies.residency import LayeredLru, Lru, Residency
from systems.runtime.activation_file import Stored
from systems.runtime.ahead import DraftAhead
from systems.store.slot_table import SlotTable

if TYPE_CHECKING:
    from systems.modeling.experts import Mixer
    from systems.runtime.drafting import Drafter


def wants_stored(options: Options) -> bool:
    """Whether a system predicts from activation matrices that were collected before."""
    return isinstance(options.predictor, ActivationMatrixOptions) and options.predictor.traces == "model"


class Model(Protocol):
    """What assembling asks of a target: its numbers."""

    top_k: int
    record_bytes: int
    decoder_layers: int
    """All layers of the target, those without experts too."""
    draft_layers: int
    """Layers of the draft model; 0 without one."""


class Assembly(ABC):
    """One system under construction.

    Args:
        link: None stands for the machine's own.
        virtual: whether time is virtual; see `systems.contract.costs.LinkSpec`.
        stored: activation matrices that were collected before; None where there are none.
    """

    def __init__(
        self,
        options: Options,
        model: Model,
        shape: Shape,
        link: LinkSpec | None,
        costs: Costs,
        virtual: bool,
        stored: Stored | None = None,
    ) -> None:
        self.options, self.model, self.shape, self.link, self.costs = options, model, shape, link, costs
        self.clock = self._make_clock(virtual)
        self.pace = Pace(self.clock, costs)
        self._future = Future(shape)
        self._stored = stored
        self._matrices = self._activation_matrices()

    def _make_clock(self, virtual: bool) -> Clock:
        if virtual:
            return VirtualClock()
        return SkippingClock() if self.link is not None else WallClock()

    def parts(self, beside: int | None = None) -> Parts:
        """Make everything and start the link.

        Args:
            beside: slots beside a draft model that may be given up, 0 if it does not fit; None: all.
        """
        residency = self._residency()
        slots = self.slots()
        cache = self._cache(slots, self.transport(slots), residency, self._future)
        try:
            return self._around(cache, slots, residency, beside)
        except BaseException:
            cache.close()
            raise

    def _around(self, cache: ExpertCache, slots: SlotTable, residency: Residency, beside: int | None) -> Parts:
        """Make the parts that a system has beside its cache."""
        arbiter = self._arbiter(cache, residency)
        hinting = Hinting(arbiter or cache, self.shape, getattr(self.options.predictor, "shuffled", False))
        listener = self._looking(arbiter, hinting) or self._listener(hinting, residency, slots, cache.absent)
        heard, depth = listener, self._depth()
        if depth is not None and depth.auto:
            heard = WarmUp(listener)
        parts = Parts(cache, hinting, self.mixer(cache, heard), residency, heard or Listener(), depth=depth)
        if isinstance(listener, Foresight | NextNeeds):
            parts.foresight = listener
        self._furnish(cache, residency)
        if isinstance(heard, WarmUp):
            parts.search = CutoffSearch(self.twin, self.shape.layers, heard)
        self._note(parts, listener)
        self.finish(parts)
        if getattr(self.options.drafter, "ahead", False):
            parts.ahead = DraftAhead(self.clock)
        if getattr(self.options.drafter, "optional", False):
            self._retain(parts, self.shape.slots if beside is None else beside)
        return parts

    def _retain(self, parts: Parts, beside: int) -> None:
        """Let the warm-up decide whether the draft model stays; one that does not fit is given up at once."""
        retention = Retention(parts.drafter, self.plain(), parts.governor, beside, self.shape.slots, beside > 0)
        parts.notes.append(retention.describe)
        if beside:
            parts.retention = retention
            parts.cache.resize(beside)
        else:
            parts.drafter, parts.governor = retention.plain, None

    def twin(self) -> Twin:
        """What the system decides with once more, on a virtual clock of its own."""
        again, clock = copy(self), VirtualClock()
        again.clock, again._matrices = clock, self._activation_matrices()
        again.pace = Pace(clock, self.costs)
        residency = again._residency()
        cache = again._imagined_cache(clock, residency, self._future)
        listener = again._listener(Hinting(cache, self.shape), residency, cache.slots, cache.absent)
        again._furnish(cache, residency)
        return Twin(cache, residency, listener or Listener(), again.pace, self.draft_ordinals)

    @property
    @abstractmethod
    def draft_ordinals(self) -> Sequence[int]:
        """Per layer of the draft model, the ordinal of the target's MoE layer beside it, negative for none."""

    @abstractmethod
    def slots(self) -> SlotTable:
        """Fast memory."""

    @abstractmethod
    def transport(self, slots: SlotTable) -> Transport:
        """The link."""

    @abstractmethod
    def open_home(self, slots: SlotTable) -> None:
        """Make slow memory readable where it lies; see `SlotTable.home_of`."""

    @abstractmethod
    def predict(self) -> Predict:
        """How the routers of later layers are asked."""

    @abstractmethod
    def mixer(self, cache: ExpertCache, listener: Listener | None) -> Mixer:
        """What computes a layer's experts."""

    @abstractmethod
    def plain(self) -> Drafter:
        """What drafts nothing."""

    @abstractmethod
    def finish(self, parts: Parts) -> None:
        """Add what has to do with computing: the drafter, and gating."""

    @property
    def micro_batches(self) -> int:
        """How many parts of a batch visit each layer; on a virtual clock they are computed as one."""
        attention = self.options.attention
        return (
            attention.micro_batches if isinstance(attention, ChunkedAttentionOptions) and not self.clock.virtual else 1
        )

    def schedule(self, parts: Parts, token_time: float) -> None:
        """Let somebody fetch for a self-draft, whose tokens take `token_time` seconds each, if the system says so."""
        if isinstance(self.options.predictor, LookaheadBufferOptions):
            phases = Phases(self.options.prefetch.schedule, token_time, self.costs.transfer)
            parts.scheduler = LookaheadScheduler(phases, parts.hinting)

    def govern(self, parts: Parts, longest: int, token_time: float) -> None:
        """Let draft lengths be chosen at run time, where the system says so.

        Args:
            longest: the longest draft.
            token_time: seconds of drafting one token.
        """
        options = self.options.governor
        if isinstance(options, RooflineOptions):
            parts.governor = self._roofline(options, longest, token_time, parts.scheduler)
        elif isinstance(options, CascadeOptions):
            parts.governor = Cascade(longest)
        if parts.governor is not None:
            parts.notes.append(parts.governor.describe)

    def _roofline(
        self, options: RooflineOptions, longest: int, token_time: float, scheduler: LookaheadScheduler | None
    ) -> DraftGovernor:
        costs, layers = self.costs, self.model.decoder_layers
        cycle = CycleCosts(
            draft_base=0.0,
            draft_token=token_time,
            verify=lambda width: layers * costs.at(costs.target_layer, width),
            first_fetch=costs.transfer if scheduler is not None else 0.0,
            overhead=costs.call if scheduler is not None else 0.0,
            transfer=costs.transfer,
        )
        return Roofline(cycle, longest, options.latency, lambda: scheduler.fresh if scheduler is not None else ())

    def _arbiter(self, cache: ExpertCache, residency: Residency) -> Arbiter | None:
        if not isinstance(self.options.prefetch, ArbitratedOptions):
            return None
        assert isinstance(residency, Value)
        return Arbiter(self.options.prefetch, cache, residency, self.shape, self.costs.transfer)

    def _looking(self, arbiter: Arbiter | None, hinting: Hinting) -> Arbiter | None:
        """Let an arbiter ask the gates of the layers ahead."""
        if arbiter is None:
            return None
        predict, last, ahead = self.predict(), self.shape.layers - 1, self.options.predictor.ahead

        def look(layer: int, hidden: Any) -> None:
            for later in range(layer + 1, min(layer + ahead, last) + 1):
                if arbiter.reaches(later):
                    hinting.prefetch(later, predict(later, hidden))

        arbiter.look = look
        return arbiter

    def _depth(self) -> Depth | None:
        prefetch = self.options.prefetch
        if isinstance(prefetch, ArbitratedOptions):
            return Depth(self.shape.layers, self.shape.layers)
        return Depth(prefetch.cutoff, self.shape.layers) if isinstance(prefetch, CutoffPrefetchOptions) else None

    def _furnish(self, cache: ExpertCache, residency: Residency) -> None:
        """Load what is there from the start."""
        if isinstance(self.options.residency, AllResidentOptions):
            cache.install(range(self.shape.slots))
        elif favourites := residency.favourites():
            cache.install(favourites)

    def _residency(self) -> Residency:
        options = self.options.residency
        if isinstance(options, ActivationAwareOptions):
            return ActivationAware(self._matrices, self.shape, options.decay)
        if isinstance(options, VisitCountOptions):
            return VisitCount(self.shape, self.model.top_k)
        if isinstance(options, BeladyOptions):
            return Belady(self._future, self.shape.slots)
        if isinstance(options, AllResidentOptions | Int4Options | NoPart):
            return Lru()
        if isinstance(options, StreamingOptions):
            return options.build(self.shape, self.micro_batches)
        if isinstance(options, AdaptiveLayersOptions):
            return options.build(self.shape, self.model.top_k)
        residency: Residency = options.build(self.shape)
        return residency

    def _imagined_cache(self, clock: VirtualClock, residency: Residency, future: Future) -> ExpertCache:
        """An empty cache like that of the system, on a virtual clock, over its link or one as the costs say."""
        slots = SlotTable(self.shape.slots, self.shape.layers * self.shape.experts)
        link = EmulatedLink(self._emulated_link(), self.model.record_bytes, clock)
        return self._cache(slots, link, residency, future)

    def _emulated_link(self) -> LinkSpec:
        if self.link is not None:
            return self.link
        carrying = self.costs.transfer - self.costs.call
        return LinkSpec(self.model.record_bytes / carrying if carrying else math.inf, self.costs.call)

    def _cache(self, slots: SlotTable, transport: Transport, residency: Residency, future: Future) -> ExpertCache:
        ledger = Ledger(self.shape.layers, self.model.record_bytes)
        keeps = not isinstance(self.options.residency, NoPart)
        prefetch = self.options.prefetch
        how = prefetch if isinstance(prefetch, PrefetchOptions) else PrefetchOptions()
        in_line = self.options.transfer if isinstance(self.options.transfer, InLineOptions) else None
        occupancy = Occupancy(slots, residency, ledger, keeps)
        elsewhere = self._elsewhere(slots, future, transport.clock)
        return ExpertCache(
            occupancy, transport, ledger, self.shape.experts, how.batch_io, how.worker, elsewhere, in_line,
            self.costs.transfer,
        )  # fmt: skip

    def _elsewhere(self, slots: SlotTable, future: Future, clock: Clock) -> Elsewhere | None:
        if (host := self._host()) is None:
            return None
        self.open_home(slots)
        placement = Placement(host, self.costs.transfer)
        if isinstance(self.options.residency, BeladyOptions):
            placement = ScheduledPlacement(host, self.costs.transfer, future)
        return Elsewhere(placement, host, clock, self._device_time if self.options.placement.balance else None)

    def _device_time(self, rows: int, experts: int) -> float:
        """What the device takes for one of a layer's experts, which so many rows use (s): all are half of the layer."""
        return self.costs.at(self.costs.target_layer, rows // self.model.top_k) / 2 / experts

    def _host(self) -> HostCosts | None:
        """What missing experts take where they lie; None: they are not computed there."""
        if not isinstance(self.options.placement, CpuOptions):
            return None
        if self.costs.host is None:
            raise BadInput("placement.part=cpu needs what the host takes, which these costs do not say; record again")
        costs: HostCosts = self.options.placement.costs(self.costs.host, self.costs.transfer)
        return costs

    def stage(self) -> Stage:
        """A cache like this system's, for schedules to be tried."""
        link, host = self._emulated_link(), self._host()

        def build(future: Future, clock: VirtualClock) -> ExpertCache:
            return self._imagined_cache(clock, Belady(future, self.shape.slots), future)

        transfer = link.latency + self.model.record_bytes / link.bandwidth
        return Stage(self.shape, self.costs, transfer, None if host is None else host.at, build)

    def carried(self, tokens: int) -> int:
        """Experts that the link carries while a layer computes so many tokens, and one more, so that it never rests."""
        if not self.costs.transfer:
            return self.shape.slots
        return math.ceil(self.hides(tokens)) + 1

    def hides(self, tokens: int) -> float:
        """Transfers that fit into the time of a layer over so many tokens."""
        layer = self.costs.at(self.costs.target_layer, tokens)
        return layer / self.costs.transfer if self.costs.transfer else math.inf

    def _division(self, residency: Residency) -> Division | None:
        options = self.options.residency
        if not (isinstance(options, AdaptiveLayersOptions) and isinstance(residency, AdaptiveLayers)):
            return None
        return Division(residency, self.model.top_k, options.room(self.shape, self.model.top_k))

    def _listener(self, hinting: Hinting, residency: Residency, slots: SlotTable, absent: Absent) -> Listener | None:
        options, prefetch = self.options.predictor, self.options.prefetch
        if isinstance(options, NextGateOptions):
            always = options.when == "always"
            return NextGate(
                self.predict(), hinting, self.shape, prefetch.depth, self.hides, always, self._division(residency)
            )
        if isinstance(options, LayerStreamOptions):
            between = 0 if isinstance(self.options.drafter, NoPart) else self.shape.slots
            return LayerStream(
                hinting, self.shape, prefetch.depth, options.recent, absent, self.carried, between or self.carried(1)
            )
        if isinstance(options, NextNeedsOptions):
            return NextNeeds(hinting)
        if isinstance(options, RehearsalOptions):
            return Foresight(self._future, hinting, slots.owner, self.stage(), self.clock, self.shape.experts)
        if isinstance(options, ActivationMatrixOptions):
            return self._matching(hinting, residency, slots)
        if isinstance(options, MissedOptions):
            return Admission(hinting, prefetch.most)
        if isinstance(options, RowCountersPredictorOptions) and isinstance(residency, RowCounters):
            return CountedPrefetch(residency, hinting, self.shape, options.threshold)
        if isinstance(self.options.residency, ActivationAwareOptions):
            return ActivationMatching(self._matrices, hinting)
        return None

    def _matching(self, hinting: Hinting, residency: Residency, slots: SlotTable) -> Listener:
        """MoE-Infinity's predictor, which knows how long the link is idle; one at no cost carries all there is."""
        matrices, transfer = self._matrices, self.costs.transfer
        link = IdleLink(matrices, self.shape, slots.owner)
        if isinstance(residency, ActivationAware):
            residency.link = link
        if not transfer:
            return ActivationMatching(matrices, hinting, link, lambda tokens: self.shape.slots)
        return ActivationMatching(matrices, hinting, link, self.hides, self._drafting_time() / transfer)

    def _drafting_time(self) -> float:
        """How long the computation drafts between two forwards (s)."""
        length: int = getattr(self.options.drafter, "draft_length", 0)
        return length * self.token_time()

    def token_time(self) -> float:
        """How long drafting a token takes by the costs (s): of the draft model, or of the target that drafts for
        itself."""
        options, costs = self.options.drafter, self.costs
        if isinstance(options, ModelDrafterOptions):
            return self.model.draft_layers * costs.at(costs.draft_layer, 1)
        if isinstance(options, NoPart | PromptLookupOptions):
            return 0.0
        return self.model.decoder_layers * costs.at(costs.target_layer, 1)

    def _activation_matrices(self) -> ActivationMatrices:
        options, width = self.options.predictor, 1 + getattr(self.options.drafter, "draft_length", 0)
        traces = Traces(self.shape)
        if isinstance(options, ActivationMatrixOptions):
            traces = Traces(self.shape, options.capacity, options.matches, options.distance)
            if self._stored is not None:
                traces.fill(self._stored.counts)
        return ActivationMatrices(self.shape, self.model.top_k, traces, width)

    def _note(self, parts: Parts, listener: Listener | None) -> None:
        """Let the record say what the parts have chosen."""
        if (depth := parts.depth) is not None:
            parts.notes.append(lambda: {"cutoff": depth.layers, "cutoff_auto": depth.auto})
        if (search := parts.search) is not None:
            parts.notes.append(search.describe)
        if isinstance(value := parts.residency, Value):
            parts.notes.append(value.describe)
        if isinstance(residency := parts.residency, LayeredLru):
            parts.notes.append(lambda: {"slots_by_layer": list(residency.quotas)})
        if isinstance(foresight := parts.foresight, Foresight):
            record = self.model.record_bytes
            parts.notes.append(lambda: {"schedules": dict(foresight.chosen), "fewest_bytes": foresight.fewest * record})
        if isinstance(buffered := parts.residency, AdaptiveLayers):
            parts.notes.append(lambda: {"prefetch_buffer": buffered.buffer})
        if isinstance(listener, NextGate):
            parts.notes.append(listener.describe)
        if isinstance(listener, ActivationMatching):
            source = "warm-up" if self._stored is None else self._stored.source
            parts.notes.append(lambda: {"traces": len(self._matrices.traces), "traces_from": source})
