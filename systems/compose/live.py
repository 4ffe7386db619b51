"""The parts that compute: what a live system has beside its policies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch

from systems.cache.transport import CopyingEmulatedLink, EmulatedLink, HostTransport, Transport
from systems.compose.assembly import Assembly
from systems.compose.composed import Parts
from systems.contract.costs import Costs, LinkSpec
from systems.contract.errors import BadInput, Unsupported
from systems.graphs.decoder import GraphedDecoders
from systems.modeling.decoder import Decoder, MakeDecoder, at_once
from systems.modeling.experts import CachedExperts, Mixer
from systems.modeling.grouped_experts import GroupedExperts, known
from systems.policies.composition import Composition
from systems.policies.hinting import Predict
from systems.policies.listening import Listener
from systems.policies.orders import Shape
from systems.runtime.drafting import Drafter, NoDrafter
from systems.runtime.naming import naming
from systems.runtime.pair import Pair
from systems.store.slot_table import SlotTable
from systems.store.slots import Places, Slots, StoreSlots
from systems.store.store import RamStore

if TYPE_CHECKING:
    from systems.methods.adapmoe.gating import AdaptiveGating


class LiveAssembly(Assembly):
    """A system over a loaded pair; see `Assembly`."""

    def __init__(
        self,
        composition: Composition,
        pair: Pair,
        shape: Shape,
        link: LinkSpec | None,
        costs: Costs,
        virtual: bool = False,
    ) -> None:
        stored = pair.activations if composition.predictor.wants_activations else None
        super().__init__(composition, pair, shape, link, costs, virtual, stored)
        self.pair, self.device = pair, torch.device(pair.device)
        if self.on_device:
            for reason in (part.host_only(self.clock.virtual) for part in composition.parts):
                if reason is not None:
                    raise Unsupported(reason)

    @property
    def on_device(self) -> bool:
        """Whether fast memory is another device's."""
        return self.device.type != "cpu"

    def slots(self) -> Places:
        """A slab on the device; on an emulated link bookkeeping over host memory, if that holds the records."""
        store = self.pair.store
        if self.link is not None and not self.on_device and isinstance(store, RamStore):
            return StoreSlots(store, self.shape.slots)
        return Slots(store.shape, store.dtype, self.shape.slots, self.device)

    def transport(self, slots: SlotTable) -> Transport:
        """DMA to a CUDA device, copies on the host, or an emulated link. On a virtual clock nothing has a time, and a
        device's slots are filled as a host's are."""
        store = self.pair.store
        if self.on_device and not self.clock.virtual:
            from systems.runtime.cuda import CudaTransport

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
        ordinals = {layer: ordinal for ordinal, layer in enumerate(self.pair.store.shape.layers)}
        return [ordinals.get(layer, -1) for layer in range(self.model.decoder_layers)]

    def open_home(self, slots: SlotTable) -> None:
        """Read host memory in place."""
        store = self.pair.store
        if not isinstance(store, RamStore):
            raise BadInput("placement.part=cpu computes experts in host memory; set model.store=ram")
        if isinstance(slots, Slots):
            slots.add(store.slab.view(store.dtype))

    def predict(self) -> Predict:
        """The target's own routers."""
        names = [naming(router) for router in self.pair.routers]
        return lambda ahead, hidden: names[ahead](hidden)

    def make_mixer(self, listener: Listener | None) -> Mixer:
        """Products from the slots, or from copies in their stead."""
        copies: Mixer | None = self.composition.residency.mixer(self)
        return copies or kind_of_experts(self.pair)(self.cache, listener, self.pace if self.clock.virtual else None)

    @cached_property
    def make_decoder(self) -> MakeDecoder:
        """What computes forwards of target and draft."""
        return decoders(self.pair)

    @property
    def draft_listener(self) -> Any:
        """What listens to the draft model's layers; None: nothing does."""
        return self.composition.predictor.draft_listener(self, self.made.depth)

    def finish(self, parts: Parts) -> None:
        """Gate, divide the batch, and draft."""
        composition = self.composition
        parts.decoder = composition.attention.build(self) or self.make_decoder
        parts.mixer = composition.gating.build(self, parts.mixer)
        if composition.gating.profiles:
            parts.gating = cast("AdaptiveGating", parts.mixer)
        if not at_once(self.pair.target):
            self.note(lambda: {"reads": "token by token"})
        if kind_of_experts(self.pair) is GroupedExperts and not known(self.pair.arithmetic):
            self.note(lambda: {"experts": "one by one"})
        parts.drafter = composition.drafter.build(self) or self.plain()
        if parts.governor is None and parts.scheduler is None:
            self.govern(parts.drafter.draft_length, composition.drafter.token_time(self))
        if isinstance(self.make_decoder, GraphedDecoders):
            parts.closing.append(self.make_decoder.close)
            self.note(self.make_decoder.describe)

    def plain(self) -> Drafter:
        """Decode plainly."""
        return NoDrafter(self.device)


def kind_of_experts(pair: Pair) -> type[CachedExperts]:
    """Return what computes a pair's experts from a cache, as `model.operators` says."""
    return GroupedExperts if pair.config.groups else CachedExperts


def decoders(pair: Pair) -> MakeDecoder:
    """Return what makes the decoders of a pair, as `model.operators` says."""
    return GraphedDecoders(pair.port) if pair.config.operators == "graphed" else Decoder
