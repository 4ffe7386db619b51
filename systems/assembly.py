"""Putting the parts of one system together: what live and replayed systems have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from systems.composed import Depth, Parts
from systems.contract.costs import Costs, LinkSpec
from systems.options.base import NoPart
from systems.options.computing import ChunkedAttentionOptions
from systems.options.drafters import QuantisedSelfOptions
from systems.options.prefetching import (
    ActivationMatrixOptions,
    CutoffPrefetchOptions,
    LayerStreamOptions,
    LookaheadBufferOptions,
    NextGateOptions,
    NextNeedsOptions,
    PrefetchOptions,
    RehearsalOptions,
)
from systems.options.residency import ActivationAwareOptions, AllResidentOptions, BeladyOptions, Int4Options
from systems.parts import Options
from systems.policies.activation import ActivationAware, ActivationMatrices
from systems.policies.belady import Belady, Future
from systems.policies.foresight import Foresight
from systems.policies.governor import CycleCosts, Governor
from systems.policies.hinting import Hinting
from systems.policies.listening import Listener
from systems.policies.lookahead import LookaheadScheduler, ThreePhases
from systems.policies.orders import Shape
from systems.policies.placement import CpuOptions, Placement
from systems.policies.predicting import ActivationMatching, NextGate, Predict
from systems.policies.pregated import NextNeeds
from systems.policies.residency import AdaptiveLayersOptions, LayeredLru, Lru, Residency
from systems.policies.scheduled_placement import ScheduledPlacement
from systems.policies.streaming import Absent, LayerStream, StreamingOptions
from systems.runtime.clock import Clock, Pace, VirtualClock, WallClock
from systems.runtime.elsewhere import Elsewhere
from systems.runtime.expert_cache import ExpertCache
from systems.runtime.ledger import Ledger
from systems.runtime.occupancy import Occupancy
from systems.runtime.slot_table import SlotTable
from systems.runtime.transport import PacedLink, Transport
from systems.stage import Stage

if TYPE_CHECKING:
    from systems.runtime.experts import Mixer


class Model(Protocol):
    """What assembling asks of a target: its numbers."""

    top_k: int
    record_bytes: int
    decoder_layers: int
    """All layers of the target, those without experts too."""


class Assembly(ABC):
    """One system under construction.

    Args:
        link: None stands for the machine's own.
        virtual: whether time is virtual; see `systems.contract.costs.LinkSpec`.
    """

    def __init__(
        self, options: Options, model: Model, shape: Shape, link: LinkSpec | None, costs: Costs, virtual: bool
    ) -> None:
        self.options, self.model, self.shape, self.link, self.costs = options, model, shape, link, costs
        self.clock: Clock = VirtualClock(costs.overheads) if virtual else WallClock()
        self.pace = Pace(self.clock, costs)
        self._future = Future(shape)
        self._matrices = ActivationMatrices(shape)

    def parts(self) -> Parts:
        """Make everything and start the link."""
        residency = self._residency()
        slots = self.slots()
        cache = self._cache(slots, self.transport(slots), residency)
        hinting = Hinting(cache, self.shape, getattr(self.options.predictor, "shuffled", False))
        listener = self._listener(hinting, residency, slots, cache.absent)
        parts = Parts(cache, hinting, self.mixer(cache, listener), residency, listener or Listener())
        if isinstance(listener, Foresight | NextNeeds):
            parts.foresight = listener
        if isinstance(self.options.residency, AllResidentOptions):
            cache.install(range(self.shape.slots))
        elif favourites := residency.favourites():
            cache.install(favourites)
        if isinstance(self.options.prefetch, CutoffPrefetchOptions):
            parts.depth = Depth(self.options.prefetch.cutoff, self.shape.layers)
        self._note(parts)
        self.finish(parts)
        return parts

    @abstractmethod
    def slots(self) -> SlotTable:
        """Fast memory."""

    @abstractmethod
    def transport(self, slots: SlotTable) -> Transport:
        """The link."""

    @abstractmethod
    def annex(self, slots: SlotTable) -> None:
        """Make slow memory readable where it lies, behind the slots."""

    @abstractmethod
    def predict(self) -> Predict:
        """How the routers of later layers are asked."""

    @abstractmethod
    def mixer(self, cache: ExpertCache, listener: Listener | None) -> Mixer:
        """What computes a layer's experts."""

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

    def scheduler(self, parts: Parts, token_time: float) -> LookaheadScheduler | None:
        """What fetches for a self-draft, whose tokens take `token_time` seconds each."""
        if not isinstance(self.options.predictor, LookaheadBufferOptions):
            return None
        phases = ThreePhases(self.options.prefetch.schedule, token_time, self.costs.transfer)
        return LookaheadScheduler(phases, parts.hinting, parts.cache.absent, self.shape.experts)

    def governor(self, options: QuantisedSelfOptions, token_time: float, parts: Parts) -> Governor | None:
        """What chooses a self-draft's length."""
        if not options.governor:
            return None
        costs, layers = self.costs, self.model.decoder_layers
        cycle = CycleCosts(
            draft_base=0.0,
            draft_token=token_time,
            verify=lambda width: layers * costs.at(costs.target_layer, width),
            first_fetch=costs.transfer,
            overhead=costs.call,
            transfer=costs.transfer,
        )
        governor = Governor(cycle, options.draft_length, options.latency)
        parts.notes.append(governor.describe)
        return governor

    def _residency(self) -> Residency:
        options = self.options.residency
        if isinstance(options, ActivationAwareOptions):
            return ActivationAware(self._matrices.scores, self.shape)
        if isinstance(options, BeladyOptions):
            return Belady(self._future, self.shape.slots)
        if isinstance(options, AllResidentOptions | Int4Options | NoPart):
            return Lru()
        if isinstance(options, StreamingOptions):
            return options.build(self.shape, self.micro_batches)
        residency: Residency = options.build(self.shape)
        return residency

    def _cache(self, slots: SlotTable, transport: Transport, residency: Residency) -> ExpertCache:
        if isinstance(self.options.placement, CpuOptions):
            self.annex(slots)
        return self._cache_on(slots, transport, residency, self._future)

    def _cache_on(self, slots: SlotTable, transport: Transport, residency: Residency, future: Future) -> ExpertCache:
        ledger = Ledger(self.shape.layers, self.model.record_bytes)
        keeps = not isinstance(self.options.residency, NoPart)
        prefetch = self.options.prefetch
        how = prefetch if isinstance(prefetch, PrefetchOptions) else PrefetchOptions()
        occupancy = Occupancy(slots, residency, ledger, keeps)
        elsewhere = self._elsewhere(len(slots), future, transport.clock)
        return ExpertCache(occupancy, transport, ledger, self.shape.experts, how.batch_io, how.worker, elsewhere)

    def _elsewhere(self, slots: int, future: Future, clock: Clock) -> Elsewhere | None:
        if not isinstance(self.options.placement, CpuOptions):
            return None
        paced = self.link.remote_token if self.link is not None else 0.0
        placement = Placement(self._remote, self.costs.transfer)
        if isinstance(self.options.residency, BeladyOptions):
            placement = ScheduledPlacement(self._remote, self.costs.transfer, future)
        return Elsewhere(slots, placement, paced, clock)

    @property
    def _remote(self) -> float:
        """Seconds per token of an expert in slow memory."""
        # Without a paced link, the other memory's processor is this one: a token's share of a layer's time.
        own = self.costs.at(self.costs.target_layer, 1) / self.model.top_k
        return self.link.remote_token if self.link is not None else own

    def stage(self) -> Stage:
        """A cache like this system's, for schedules to be tried."""
        costs, record = self.costs, self.model.record_bytes
        link = self.link or LinkSpec(record / (costs.transfer - costs.call), costs.call)

        def build(future: Future, clock: VirtualClock) -> ExpertCache:
            slots = SlotTable(self.shape.slots, self.shape.layers * self.shape.experts)
            return self._cache_on(slots, PacedLink(link, record, clock), Belady(future, self.shape.slots), future)

        apart = isinstance(self.options.placement, CpuOptions)
        host = (lambda rows: self._remote * rows) if apart else None
        return Stage(self.shape, costs, link.latency + record / link.bandwidth, host, build)

    def carried(self, tokens: int) -> int:
        """Experts that the link carries while a layer computes so many tokens, and one more, so that it never rests."""
        if not self.costs.transfer:
            return self.shape.slots
        return math.ceil(self.costs.at(self.costs.target_layer, tokens) / self.costs.transfer) + 1

    def _listener(self, hinting: Hinting, residency: Residency, slots: SlotTable, absent: Absent) -> Listener | None:
        options, prefetch = self.options.predictor, self.options.prefetch
        if isinstance(options, NextGateOptions):
            adaptive = isinstance(self.options.residency, AdaptiveLayersOptions)
            quotas = residency if adaptive and isinstance(residency, LayeredLru) else None
            return NextGate(self.predict(), hinting, self.shape, prefetch.depth, quotas)
        if isinstance(options, LayerStreamOptions):
            between = 0 if isinstance(self.options.drafter, NoPart) else self.shape.slots
            return LayerStream(
                hinting, self.shape, prefetch.depth, options.recent, absent, self.carried, between or self.carried(1)
            )
        if isinstance(options, NextNeedsOptions):
            return NextNeeds(hinting)
        if isinstance(options, RehearsalOptions):
            return Foresight(self._future, hinting, slots.owner, self.stage(), self.clock, self.shape.experts)
        predicts = isinstance(options, ActivationMatrixOptions)
        if predicts or isinstance(self.options.residency, ActivationAwareOptions):
            most = max(1, int(prefetch.share * self.shape.slots)) if predicts else 0
            return ActivationMatching(self._matrices, hinting if predicts else None, most)
        return None

    def _note(self, parts: Parts) -> None:
        """Let the record say what the parts have chosen."""
        if (depth := parts.depth) is not None:
            parts.notes.append(lambda: {"cutoff": depth.layers, "cutoff_auto": depth.auto})
        if isinstance(residency := parts.residency, LayeredLru):
            parts.notes.append(lambda: {"slots_by_layer": list(residency.quotas)})
        if isinstance(foresight := parts.foresight, Foresight):
            record = self.model.record_bytes
            parts.notes.append(lambda: {"schedules": dict(foresight.chosen), "fewest_bytes": foresight.fewest * record})
        if isinstance(parts.listener, ActivationMatching):
            parts.notes.append(lambda: {"traces": len(self._matrices.traces)})
