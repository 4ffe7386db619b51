"""Putting the parts of one system together: each option makes its part, in the order in which they need each other."""

from __future__ import annotations

import torch

from systems.api import BadInput, Costs, LinkSpec
from systems.composed import Depth, Parts
from systems.drafters.base import Drafter, NoDrafter
from systems.drafters.model import ModelDrafter
from systems.drafters.prompt_lookup import PromptLookup
from systems.drafters.quantised_self import QuantisedSelf
from systems.parts import (
    ActivationAwareOptions,
    ActivationMatrixOptions,
    AdaptiveGatingOptions,
    AllResidentOptions,
    BeladyOptions,
    CutoffPrefetchOptions,
    DraftAttentionOptions,
    LookaheadBufferOptions,
    ModelDrafterOptions,
    NextGateOptions,
    NoPart,
    Options,
    PrefetchOptions,
    PromptLookupOptions,
    QuantisedSelfOptions,
    RehearsalOptions,
)
from systems.policies.activation import ActivationAware, ActivationMatrices
from systems.policies.belady import Belady, Future
from systems.policies.governor import CycleCosts, Governor
from systems.policies.hinting import Hinting
from systems.policies.listening import Listener
from systems.policies.lookahead import LookaheadScheduler, ThreePhases
from systems.policies.orders import Shape
from systems.policies.placement import CpuOptions, Placement
from systems.policies.predicting import ActivationMatching, Foresight, NextGate
from systems.policies.residency import AdaptiveLayersOptions, LayeredLru, Lru, Residency
from systems.runtime.calibration import draft_token_time
from systems.runtime.clock import Clock, Pace, VirtualClock, WallClock
from systems.runtime.draft_attention import DraftAttention
from systems.runtime.elsewhere import Elsewhere
from systems.runtime.expert_cache import ExpertCache
from systems.runtime.experts import CachedExperts
from systems.runtime.gating import AdaptiveGating
from systems.runtime.ledger import Ledger
from systems.runtime.link import Link, NoThread
from systems.runtime.occupancy import Occupancy
from systems.runtime.pair import Pair
from systems.runtime.quantised import QuantisedExperts
from systems.runtime.slot_table import SlotTable
from systems.runtime.slots import Slots
from systems.runtime.store import RamStore
from systems.runtime.transport import HostTransport, Transport


class Assembly:
    """One system under construction.

    Args:
        link: None stands for the machine's own.
        virtual: whether time is virtual; see `systems.api.LinkSpec`.
    """

    def __init__(
        self, options: Options, pair: Pair, shape: Shape, link: LinkSpec | None, costs: Costs, virtual: bool = False
    ) -> None:
        self._options, self._pair, self._shape, self._link, self._costs = options, pair, shape, link, costs
        self._clock: Clock = VirtualClock() if virtual else WallClock()
        self._pace = Pace(self._clock, costs) if virtual else None
        self._device = torch.device(pair.device)
        self._future = Future(shape)
        self._matrices = ActivationMatrices(shape)

    def parts(self) -> Parts:
        """Make everything and start the link."""
        residency = self._residency()
        slots = Slots(self._pair.store.shape, self._pair.store.dtype, self._shape.slots, self._device)
        transport = self._transport(slots)
        cache = self._cache(slots, transport, residency)
        hinting = Hinting(cache, self._shape, getattr(self._options.predictor, "shuffled", False))
        listener = self._listener(hinting, residency, slots)
        link = NoThread() if self._clock.virtual else Link(cache, transport)
        mixer = CachedExperts(cache, listener, self._pace)
        parts = Parts(cache, link, hinting, mixer, NoDrafter(self._device), residency, listener or Listener())
        if isinstance(listener, Foresight):
            parts.foresight = listener
        if isinstance(self._options.residency, AllResidentOptions):
            cache.install(range(self._shape.slots))
        self._gate(parts)
        parts.drafter = self._drafter(parts)
        self._note(parts)
        return parts

    def _residency(self) -> Residency:
        options = self._options.residency
        if isinstance(options, ActivationAwareOptions):
            return ActivationAware(self._shape, self._matrices.scores)
        if isinstance(options, BeladyOptions):
            return Belady(self._future)
        if isinstance(options, AllResidentOptions | NoPart):
            return Lru()
        residency: Residency = options.build(self._shape)
        return residency

    def _transport(self, slots: Slots) -> Transport:
        if self._device.type == "cuda":
            from systems.runtime.cuda import CudaTransport

            return CudaTransport(self._pair.store, slots, self._link)
        return HostTransport(self._pair.store, slots, self._link, self._clock)

    def _cache(self, slots: Slots, transport: Transport, residency: Residency) -> ExpertCache:
        ledger = Ledger(self._pair.num_layers, self._pair.record_bytes)
        keeps = not isinstance(self._options.residency, NoPart)
        prefetch = self._options.prefetch
        how = prefetch if isinstance(prefetch, PrefetchOptions) else PrefetchOptions()
        occupancy = Occupancy(slots, residency, ledger, keeps)
        return ExpertCache(
            occupancy, transport, ledger, self._pair.num_experts, how.batch_io, how.worker, self._elsewhere(slots)
        )

    def _elsewhere(self, slots: Slots) -> Elsewhere | None:
        if not isinstance(self._options.placement, CpuOptions):
            return None
        if self._device.type != "cpu":
            raise BadInput("placement.part=cpu runs beside host slots only so far; set model.device=cpu")
        self._annex(slots)
        # Without a paced link, the other memory's processor is this one: a token's share of a layer's time.
        own = self._costs.at(self._costs.target_layer, 1) / self._pair.top_k
        remote = self._link.remote_token if self._link is not None else own
        placement = Placement(remote, self._costs.transfer)
        paced = self._link.remote_token if self._link is not None else 0.0
        return Elsewhere(len(slots), placement, paced, self._clock)

    def _annex(self, slots: SlotTable) -> None:
        """Make slow memory readable in place."""
        store = self._pair.store
        if not isinstance(store, RamStore):
            raise BadInput("placement.part=cpu computes experts in host memory; set model.store=ram")
        assert isinstance(slots, Slots)
        slots.annex(store.slab.view(store.dtype))

    def _listener(self, hinting: Hinting, residency: Residency, slots: Slots) -> Listener | None:
        options, prefetch = self._options.predictor, self._options.prefetch
        if isinstance(options, NextGateOptions):
            layers = self._pair.target.get_decoder().layers
            gates = [layers[layer].mlp.gate for layer in self._pair.store.shape.layers]
            adaptive = isinstance(self._options.residency, AdaptiveLayersOptions)
            quotas = residency if adaptive and isinstance(residency, LayeredLru) else None
            return NextGate(
                lambda ahead, hidden: gates[ahead](hidden)[2].tolist(), hinting, self._shape, prefetch.depth, quotas
            )
        if isinstance(options, RehearsalOptions):
            return Foresight(self._future, hinting, slots.owner)
        predicts = isinstance(options, ActivationMatrixOptions)
        if predicts or isinstance(self._options.residency, ActivationAwareOptions):
            most = max(1, int(prefetch.share * self._shape.slots)) if predicts else 0
            return ActivationMatching(self._matrices, hinting if predicts else None, most)
        return None

    def _gate(self, parts: Parts) -> None:
        if isinstance(options := self._options.gating, AdaptiveGatingOptions):
            parts.gating = AdaptiveGating(parts.mixer, self._shape.layers, options.tolerance)
            parts.mixer = parts.gating

    def _drafter(self, parts: Parts) -> Drafter:
        options = self._options.drafter
        if isinstance(options, PromptLookupOptions):
            return PromptLookup(options.draft_length, options.longest, self._device)
        if isinstance(options, QuantisedSelfOptions):
            return self._quantised_self(options, parts)
        if not isinstance(options, ModelDrafterOptions):
            return NoDrafter(self._device)
        listener = None
        if isinstance(self._options.predictor, DraftAttentionOptions):
            prefetch = self._options.prefetch
            assert isinstance(prefetch, CutoffPrefetchOptions)
            parts.depth = Depth(prefetch.cutoff, self._shape.layers)
            listener = DraftAttention(self._pair, parts.depth, parts.hinting.prefetch)
        return ModelDrafter(self._pair.draft, options.draft_length, self._pair.draft_bytes, listener, self._pace)

    def _quantised_self(self, options: QuantisedSelfOptions, parts: Parts) -> Drafter:
        experts = QuantisedExperts(self._pair.store, options.group, self._device)
        layers = self._pair.target.config.num_hidden_layers
        resident = self._costs.at(self._costs.target_layer, 1)
        token = layers * resident if self._clock.virtual else draft_token_time(self._pair, experts)
        scheduler = None
        if isinstance(self._options.predictor, LookaheadBufferOptions):
            phases = ThreePhases(self._options.prefetch.schedule, token, self._costs.transfer)
            scheduler = LookaheadScheduler(phases, parts.hinting, parts.cache.absent, self._shape.experts)
        governor = self._governor(options, token, layers) if options.governor else None
        return QuantisedSelf(
            self._pair.port, experts, options.draft_length, scheduler, governor, self._pace, token / layers
        )

    def _governor(self, options: QuantisedSelfOptions, token: float, layers: int) -> Governor:
        costs = self._costs
        cycle = CycleCosts(
            draft_base=0.0,
            draft_token=token,
            verify=lambda width: layers * costs.at(costs.target_layer, width),
            first_fetch=costs.transfer,
            overhead=costs.call,
            transfer=costs.transfer,
        )
        return Governor(cycle, options.draft_length, options.latency)

    def _note(self, parts: Parts) -> None:
        """Let the record say what the parts have chosen."""
        if (depth := parts.depth) is not None:
            parts.notes.append(lambda: {"cutoff": depth.layers, "cutoff_auto": depth.auto})
        if isinstance(residency := parts.residency, LayeredLru):
            parts.notes.append(lambda: {"slots_by_layer": list(residency.quotas)})
        if (gating := parts.gating) is not None:
            parts.notes.append(lambda: {"gating_thresholds": [round(t, 4) for t in gating.thresholds]})
        if isinstance(parts.listener, ActivationMatching):
            parts.notes.append(lambda: {"traces": len(self._matrices.traces)})
        if isinstance(drafter := parts.drafter, QuantisedSelf) and (governor := drafter.governor) is not None:
            parts.notes.append(governor.describe)
