"""Putting the parts of one system together: what live and replayed systems have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from systems.composed import Depth, Parts
from systems.contract.costs import Costs, LinkSpec
from systems.options.base import NoPart
from systems.options.computing import ChunkedAttentionOptions
from systems.options.drafters import ModelDrafterOptions, QuantisedSelfOptions
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
from systems.policies.activation import ActivationAware, ActivationMatrices, IdleLink
from systems.policies.belady import Belady, Future
from systems.policies.governor import CycleCosts, Governor
from systems.policies.hinting import Hinting
from systems.policies.listening import Listener
from systems.policies.lookahead import LookaheadScheduler, ThreePhases
from systems.policies.orders import Shape
from systems.policies.placement import CpuOptions, Placement
from systems.policies.predicting import ActivationMatching, Foresight, NextGate, Predict
from systems.policies.pregated import NextNeeds
from systems.policies.residency import AdaptiveLayersOptions, LayeredLru, Lru, Residency
from systems.policies.streaming import Absent, LayerStream, StreamingOptions
from systems.policies.traces import Traces
from systems.runtime.activation_file import Stored
from systems.runtime.clock import Clock, Pace, VirtualClock, WallClock
from systems.runtime.elsewhere import Elsewhere
from systems.runtime.expert_cache import ExpertCache
from systems.runtime.ledger import Ledger
from systems.runtime.occupancy import Occupancy
from systems.runtime.slot_table import SlotTable
from systems.runtime.transport import Transport

if TYPE_CHECKING:
    from systems.runtime.experts import Mixer


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
        self.clock: Clock = VirtualClock(costs.overheads) if virtual else WallClock()
        self.pace = Pace(self.clock, costs)
        self._future = Future(shape)
        self._stored = stored
        self._matrices = self._activation_matrices()

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
            return ActivationAware(self._matrices, self.shape, options.decay)
        if isinstance(options, BeladyOptions):
            return Belady(self._future)
        if isinstance(options, AllResidentOptions | Int4Options | NoPart):
            return Lru()
        if isinstance(options, StreamingOptions):
            return options.build(self.shape, self.micro_batches)
        residency: Residency = options.build(self.shape)
        return residency

    def _cache(self, slots: SlotTable, transport: Transport, residency: Residency) -> ExpertCache:
        ledger = Ledger(self.shape.layers, self.model.record_bytes)
        keeps = not isinstance(self.options.residency, NoPart)
        prefetch = self.options.prefetch
        how = prefetch if isinstance(prefetch, PrefetchOptions) else PrefetchOptions()
        occupancy = Occupancy(slots, residency, ledger, keeps)
        return ExpertCache(
            occupancy, transport, ledger, self.shape.experts, how.batch_io, how.worker, self._elsewhere(slots)
        )

    def _elsewhere(self, slots: SlotTable) -> Elsewhere | None:
        if not isinstance(self.options.placement, CpuOptions):
            return None
        self.annex(slots)
        # Without a paced link, the other memory's processor is this one: a token's share of a layer's time.
        own = self.costs.at(self.costs.target_layer, 1) / self.model.top_k
        remote = self.link.remote_token if self.link is not None else own
        paced = self.link.remote_token if self.link is not None else 0.0
        return Elsewhere(len(slots), Placement(remote, self.costs.transfer), paced, self.clock)

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
            return Foresight(self._future, hinting, slots.owner)
        if isinstance(options, ActivationMatrixOptions):
            return self._matching(hinting, residency, slots)
        if isinstance(self.options.residency, ActivationAwareOptions):
            return ActivationMatching(self._matrices, hinting)
        return None

    def _matching(self, hinting: Hinting, residency: Residency, slots: SlotTable) -> Listener:
        """MoE-Infinity's predictor, which knows how long the link is idle; one at no cost carries all there is."""
        costs = self.costs
        transfer = costs.transfer or math.inf
        link = IdleLink(self._matrices, self.shape, slots.owner, costs.overheads.fetch / transfer)
        if isinstance(residency, ActivationAware):
            residency.link = link
        if not costs.transfer:
            return ActivationMatching(self._matrices, hinting, link, lambda tokens: self.shape.slots)
        return ActivationMatching(
            self._matrices,
            hinting,
            link,
            lambda tokens: costs.at(costs.target_layer, tokens) / transfer,
            self._drafting_time() / transfer,
        )

    def _drafting_time(self) -> float:
        """How long the computation drafts between two forwards (s)."""
        options, costs = self.options.drafter, self.costs
        if isinstance(options, ModelDrafterOptions):
            return options.draft_length * self.model.draft_layers * costs.at(costs.draft_layer, 1)
        if isinstance(options, QuantisedSelfOptions):
            return options.draft_length * self.model.decoder_layers * costs.at(costs.target_layer, 1)
        return 0.0

    def _activation_matrices(self) -> ActivationMatrices:
        options, width = self.options.predictor, 1 + getattr(self.options.drafter, "draft_length", 0)
        traces = Traces(self.shape)
        if isinstance(options, ActivationMatrixOptions):
            traces = Traces(self.shape, options.capacity, options.matches, options.distance)
            if self._stored is not None:
                traces.fill(self._stored.counts)
        return ActivationMatrices(self.shape, self.model.top_k, traces, width)

    def _note(self, parts: Parts) -> None:
        """Let the record say what the parts have chosen."""
        if (depth := parts.depth) is not None:
            parts.notes.append(lambda: {"cutoff": depth.layers, "cutoff_auto": depth.auto})
        if isinstance(residency := parts.residency, LayeredLru):
            parts.notes.append(lambda: {"slots_by_layer": list(residency.quotas)})
        if isinstance(parts.listener, ActivationMatching):
            source = "warm-up" if self._stored is None else self._stored.source
            parts.notes.append(lambda: {"traces": len(self._matrices.traces), "traces_from": source})
