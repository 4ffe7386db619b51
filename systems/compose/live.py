"""The parts that compute: what a live system has beside its policies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from systems.cache.expert_cache import ExpertCache
from systems.cache.options import InLineOptions
from systems.cache.transport import CopyingEmulatedLink, EmulatedLink, HostTransport, Transport
from systems.compose.assembly import Assembly, wants_stored
from systems.compose.composed import Parts
from systems.compose.options.computing import AdaptiveGatingOptions, ChunkedAttentionOptions, ExpertBudgetOptions
from systems.compose.options.drafters import (
    CachedSelfOptions,
    ModelDrafterOptions,
    PromptLookupOptions,
    QuantisedSelfOptions,
    ResidentSelfOptions,
)
from systems.compose.options.prefetching import DraftAttentionOptions
from systems.compose.options.residency import Int4Options
from systems.compose.parts import Options
from systems.contract.costs import Costs, LinkSpec
from systems.contract.errors import BadInput, Unsupported
from systems.drafters.model import ModelDrafter
from systems.drafters.prompt_lookup import PromptLookup
from systems.methods.adapmoe.gating import AdaptiveGating
from systems.methods.cached_self.drafter import CachedSelf
from systems.methods.moe_infinity.matching import Predict
from systems.methods.moe_spec.expert_budget import ExpertBudget
from systems.methods.moe_speq.drafter import QuantisedSelf
from systems.methods.moe_speq.quantised import QuantisedExperts
from systems.methods.sp_moe.draft_attention import DraftAttention
from systems.methods.spec_moe.affinity import Affinity, shuffled
from systems.methods.spec_moe.drafter import ResidentSelf, nearest_experts
from systems.methods.spec_moe.repinning import PinnedExperts
from systems.methods.spec_moe_off.split_decoder import MicroBatches, SplitDecoder, check_reach
from systems.modeling.decoder import Decoder, MakeDecoder, at_once
from systems.modeling.experts import CachedExperts, Mixer
from systems.policies.draft_lengths import DraftLengths
from systems.policies.listening import Listener
from systems.policies.orders import Shape
from systems.runtime.drafting import Drafter, NoDrafter
from systems.runtime.naming import naming
from systems.runtime.pair import Pair
from systems.runtime.timing import draft_token_time
from systems.store.slot_table import SlotTable
from systems.store.slots import Places, Slots, StoreSlots
from systems.store.store import RamStore


class LiveAssembly(Assembly):
    """A system over a loaded pair; see `Assembly`."""

    def __init__(
        self, options: Options, pair: Pair, shape: Shape, link: LinkSpec | None, costs: Costs, virtual: bool = False
    ) -> None:
        stored = pair.activations if wants_stored(options) else None
        super().__init__(options, pair, shape, link, costs, virtual, stored)
        self._pair = pair
        self._device = torch.device(pair.device)

    @property
    def on_device(self) -> bool:
        """Whether fast memory is another device's."""
        return self._device.type != "cpu"

    def slots(self) -> Places:
        """A slab on the device; on an emulated link bookkeeping over host memory, if that holds the records."""
        store = self._pair.store
        if self.link is not None and not self.on_device and isinstance(store, RamStore):
            return StoreSlots(store, self.shape.slots)
        return Slots(store.shape, store.dtype, self.shape.slots, self._device)

    def transport(self, slots: SlotTable) -> Transport:
        """DMA to a CUDA device, copies on the host, or an emulated link. On a virtual clock nothing has a time, and a
        device's slots are filled as a host's are."""
        store = self._pair.store
        if self.on_device and not self.clock.virtual:
            from systems.runtime.cuda import CudaTransport

            if isinstance(self.options.transfer, InLineOptions):
                raise Unsupported("transfer.part=in_line copies on the host's clock so far; set model.device=cpu")
            assert isinstance(slots, Slots)
            return CudaTransport(store, slots, self.link)
        if self.link is None:
            assert isinstance(slots, Slots)
            return HostTransport(store, slots, self.clock)
        if isinstance(slots, Slots):
            return CopyingEmulatedLink(self.link, store, slots, self.clock)
        return EmulatedLink(self.link, self.model.record_bytes, self.clock)

    @property
    def draft_ordinals(self) -> Sequence[int]:
        """By layer of the target, since only an aligned draft is listened to."""
        ordinals = {layer: ordinal for ordinal, layer in enumerate(self._pair.store.shape.layers)}
        return [ordinals.get(layer, -1) for layer in range(self.model.decoder_layers)]

    def open_home(self, slots: SlotTable) -> None:
        """Read host memory in place."""
        store = self._pair.store
        if self.on_device:
            raise Unsupported("placement.part=cpu runs beside host slots only so far; set model.device=cpu")
        if not isinstance(store, RamStore):
            raise BadInput("placement.part=cpu computes experts in host memory; set model.store=ram")
        if isinstance(slots, Slots):
            slots.add(store.slab.view(store.dtype))

    def predict(self) -> Predict:
        """The target's own routers."""
        names = [naming(router) for router in self._pair.routers]
        return lambda ahead, hidden: names[ahead](hidden)

    def mixer(self, cache: ExpertCache, listener: Listener | None) -> Mixer:
        """Products from the slots, or from copies in their stead."""
        if isinstance(options := self.options.residency, Int4Options):
            return QuantisedExperts(self._pair.store, options.group, self._device)
        return CachedExperts(cache, listener, self.pace if self.clock.virtual else None)

    def finish(self, parts: Parts) -> None:
        """Gate, divide the batch, and draft."""
        if isinstance(self.options.attention, ChunkedAttentionOptions):
            if self.on_device:
                raise Unsupported("attention.part=chunked runs beside host slots only so far; set model.device=cpu")
            check_reach(self._pair.target)
            parts.decoder = partial(MicroBatches, parts=self.micro_batches, clock=self.clock)
        else:
            parts.decoder = Decoder
        if isinstance(options := self.options.gating, AdaptiveGatingOptions):
            gating = AdaptiveGating(parts.mixer, self.shape.layers, options.tolerance)
            parts.gating = parts.mixer = gating
            parts.notes.append(lambda: {"gating_thresholds": [round(t, 4) for t in gating.thresholds]})
        if isinstance(options, ExpertBudgetOptions):
            if not self.model.top_k <= options.experts <= self.shape.experts:
                expected = f"between the router's {self.model.top_k} and all {self.shape.experts}"
                raise BadInput(f"gating.experts={options.experts} must be {expected}")
            parts.mixer = ExpertBudget(parts.mixer, self._pair.routers, options.experts, lambda: parts.cache.streaming)
        if not at_once(self._pair.target):
            parts.notes.append(lambda: {"reads": "token by token"})
        parts.drafter = self._drafter(parts)
        if parts.governor is None:
            self.govern(parts, parts.drafter.draft_length, self.token_time())

    def plain(self) -> Drafter:
        """Decode plainly."""
        return NoDrafter(self._device)

    def _drafter(self, parts: Parts) -> Drafter:
        options = self.options.drafter
        if isinstance(options, PromptLookupOptions):
            return PromptLookup(options.draft_length, options.longest, self._device)
        if isinstance(options, QuantisedSelfOptions):
            return self._quantised_self(options, parts)
        if isinstance(options, ResidentSelfOptions):
            return self._resident_self(options, parts)
        if isinstance(options, CachedSelfOptions):
            return CachedSelf(self._pair.port, parts.cache, self._pair.routers, options.draft_length, self.pace)
        if not isinstance(options, ModelDrafterOptions):
            return NoDrafter(self._device)
        listener = None
        predictor = self.options.predictor
        if isinstance(predictor, DraftAttentionOptions) or getattr(predictor, "draft", False):
            assert parts.depth is not None
            listener = DraftAttention(self._pair, parts.depth, parts.hinting.prefetch)
        pace = self.pace if self.clock.virtual else None
        make: MakeDecoder = Decoder
        if options.split > 1 and not self.clock.virtual:
            if self.on_device:
                raise Unsupported(
                    "drafter.split divides the host's processors; set drafter.split=1 or model.device=cpu"
                )
            make = partial(SplitDecoder, parts=options.split)
        lengths = DraftLengths(options.by_positions) if options.by_positions else None
        model = self._pair.draft
        return ModelDrafter(model, options.draft_length, self._pair.draft_bytes, listener, pace, make, lengths)

    def _resident_self(self, options: ResidentSelfOptions, parts: Parts) -> Drafter:
        pinned, store = parts.residency, self._pair.store
        assert isinstance(pinned, PinnedExperts)
        near = nearest_experts(store) if options.routing == "affinity" else shuffled(self.shape)
        affinity = Affinity(near, pinned.pinned)
        return ResidentSelf(self._pair.port, parts.cache, options.draft_length, affinity, self.pace)

    def _quantised_self(self, options: QuantisedSelfOptions, parts: Parts) -> Drafter:
        experts = QuantisedExperts(self._pair.store, options.group, self._device)
        layer = self.costs.at(self.costs.target_layer, 1)
        if not self.clock.virtual:
            layer = draft_token_time(self._pair, experts) / self.model.decoder_layers
        token = layer * self.model.decoder_layers
        self.schedule(parts, token)
        self.govern(parts, options.draft_length, token)
        return QuantisedSelf(self._pair.port, experts, options.draft_length, parts.scheduler, self.pace, layer)
