"""Building the parts of one system: the site that live and replayed systems have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar, cast

from systems.cache.clock import Clock, Pace, SkippingClock, VirtualClock, WallClock
from systems.cache.expert_cache import ExpertCache
from systems.cache.in_place import Elsewhere
from systems.cache.ledger import Ledger
from systems.cache.occupancy import Occupancy
from systems.cache.transport import EmulatedLink, Transport
from systems.compose.composed import Parts
from systems.contract.costs import Costs, LinkSpec
from systems.methods.arbiter.choice import Choice, DraftOrExperts
from systems.policies.composition import Composition
from systems.policies.hinting import Hinting, Predict, Prefetcher
from systems.policies.listening import Listener, Rehearsing
from systems.policies.orders import Shape
from systems.policies.part import Switch
from systems.policies.placement import Placement
from systems.policies.residency import Residency
from systems.runtime.activation_file import Stored
from systems.runtime.ahead import DraftAhead
from systems.runtime.site import Model, Twin
from systems.store.slot_table import SlotTable

if TYPE_CHECKING:
    from systems.modeling.experts import Mixer
    from systems.runtime.drafting import Drafter

T = TypeVar("T")


class Assembly(ABC):
    """One system under construction: a `systems.runtime.site.Site`.

    Args:
        link: None stands for the machine's own.
        virtual: whether time is virtual; see `systems.contract.costs.LinkSpec`.
        stored: activation matrices that were collected before; None where there are none.
    """

    def __init__(
        self,
        composition: Composition,
        model: Model,
        shape: Shape,
        link: LinkSpec | None,
        costs: Costs,
        virtual: bool,
        stored: Stored | None = None,
    ) -> None:
        self.composition, self.model, self.shape, self.link = composition, model, shape, link
        self.costs, self.stored = costs, stored
        self.clock = self._make_clock(virtual)
        self.pace = Pace(self.clock, costs)
        self.residency: Residency
        self.cache: ExpertCache
        self.prefetcher: Prefetcher
        self.hinting: Hinting
        self.scheduler: Any = None
        self.made: Parts
        """While parts are built, those that there are."""
        self._notes: list[Callable[[], dict[str, Any]]] = []
        self._shared: dict[type, Any] = {}

    def _make_clock(self, virtual: bool) -> Clock:
        if virtual:
            return VirtualClock()
        return SkippingClock() if self.link is not None else WallClock()

    def parts(self, beside: int | None = None) -> Parts:
        """Build everything and start the link.

        Args:
            beside: slots beside a draft model that may be given up, 0 if it does not fit; None: all.
        """
        self.residency = self.composition.residency.build(self)
        slots = self.slots()
        self.cache = self._cache(slots, self.transport(slots), self.residency)
        try:
            return self._around(beside)
        except BaseException:
            self.cache.close()
            raise

    def _around(self, beside: int | None) -> Parts:
        """Build what a system has beside its cache."""
        composition, cache = self.composition, self.cache
        self.prefetcher = composition.prefetch.build(self)
        self.hinting = Hinting(self.prefetcher, self.shape, composition.predictor.shuffled)
        listener = composition.predictor.build(self)
        depth = composition.prefetch.reach(self.shape.layers)
        if depth is not None:
            self.note(depth.describe)
        search = composition.prefetch.search(self, listener)
        heard = search.warm_up if search is not None else listener
        self.made = made = Parts(
            cache, self.hinting, self.make_mixer(heard), self.residency, heard or Listener(), depth=depth, search=search
        )
        made.notes = self._notes
        if isinstance(listener, Rehearsing):
            made.foresight = listener
        self._furnish(cache, self.residency)
        self.finish(made)
        if composition.drafter.ahead:
            made.ahead = DraftAhead(self.clock)
        if composition.drafter.optional:
            self._retain(made, self.shape.slots if beside is None else beside)
        if (switch := composition.prefetch.optional(self)) is not None:
            self._offer(made, "hints", switch)
        # Parts refer to their site: a system that is dropped would keep its tensors until it is collected.
        del self.made
        return made

    def _retain(self, parts: Parts, beside: int) -> None:
        """Let the warm-up decide whether the draft model stays; one that does not fit is given up at once."""
        switch = DraftOrExperts(parts.drafter, self.plain(), parts.governor, beside, self.shape.slots)
        switch(parts, beside > 0)
        if beside:
            self._offer(parts, "draft", switch)
        else:
            self.note(Choice("draft", switch, kept=False).describe)

    def _offer(self, parts: Parts, name: str, switch: Switch) -> None:
        """Let the warm-up decide about something, and the record say what it found."""
        choice = Choice(name, switch)
        parts.choices.append(choice)
        self.note(choice.describe)

    def twin(self) -> Twin:
        """What the system decides with once more, on a virtual clock of its own."""
        again, clock = copy(self), VirtualClock()
        again.clock, again.pace, again._notes, again._shared = clock, Pace(clock, self.costs), [], {}
        again.residency = self.composition.residency.build(again)
        again.cache = again.imagined_cache(clock, again.residency)
        again.hinting = Hinting(again.cache, self.shape)
        listener = self.composition.predictor.build(again)
        again._furnish(again.cache, again.residency)
        return Twin(again.cache, again.residency, listener or Listener(), again.pace, self.draft_ordinals)

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
    def make_mixer(self, listener: Listener | None) -> Mixer:
        """Make what computes a layer's experts."""

    @abstractmethod
    def plain(self) -> Drafter:
        """What drafts nothing."""

    @abstractmethod
    def finish(self, parts: Parts) -> None:
        """Add what has to do with computing: the drafter, and gating."""

    @property
    def micro_batches(self) -> int:
        """How many parts of a batch visit each layer; on a virtual clock they are computed as one."""
        return 1 if self.clock.virtual else self.composition.attention.micro_batches

    def govern(self, longest: int, token_time: float) -> None:
        """Let a self-draft be fetched for, and draft lengths be chosen, where the system says so.

        Args:
            longest: the longest draft.
            token_time: seconds of drafting one token.
        """
        self.scheduler = self.made.scheduler = self.composition.predictor.scheduler(self, token_time)
        self.made.governor = self.composition.governor.build(self, longest, token_time)
        if self.made.governor is not None:
            self.note(self.made.governor.describe)

    def note(self, fact: Callable[[], dict[str, Any]]) -> None:
        """Let the record say what a part has chosen."""
        self._notes.append(fact)

    def shared(self, kind: type[T], make: Callable[[], T]) -> T:
        """Return the object of a kind that all parts share; made by whoever asks first."""
        if kind not in self._shared:
            self._shared[kind] = make()
        return cast("T", self._shared[kind])

    def hides(self, tokens: int) -> float:
        """Transfers that fit into the time of a layer over so many tokens."""
        layer = self.costs.at(self.costs.target_layer, tokens)
        return layer / self.costs.transfer if self.costs.transfer else math.inf

    @property
    def emulated_link(self) -> LinkSpec:
        """The link, or one as the costs say."""
        if self.link is not None:
            return self.link
        carrying = self.costs.transfer - self.costs.call
        bandwidth = self.model.record_bytes / carrying if carrying else math.inf
        return LinkSpec(bandwidth, self.costs.call, block=self.costs.block)

    def imagined_cache(
        self, clock: VirtualClock, residency: Residency, placement: Placement | None = None
    ) -> ExpertCache:
        """Make an empty cache like that of the system, on a virtual clock, over its link or one as the costs say."""
        slots = SlotTable(self.shape.slots, self.shape.layers * self.shape.experts)
        link = EmulatedLink(self.emulated_link, self.model.record_bytes, clock)
        return self._cache(slots, link, residency, placement)

    def _furnish(self, cache: ExpertCache, residency: Residency) -> None:
        """Load what is there from the start."""
        if self.composition.residency.keeps_all:
            cache.install(range(self.shape.slots))
        elif favourites := residency.favourites():
            cache.install(favourites)

    def _cache(
        self, slots: SlotTable, transport: Transport, residency: Residency, placement: Placement | None = None
    ) -> ExpertCache:
        ledger = Ledger(self.shape.layers, self.model.record_bytes)
        prefetch = self.composition.prefetch
        occupancy = Occupancy(slots, residency, ledger, not self.composition.residency.keeps_nothing)
        elsewhere = self._elsewhere(slots, transport.clock, placement)
        return ExpertCache(
            occupancy, transport, ledger, self.shape.experts, prefetch.batch_io, prefetch.worker, elsewhere,
            self.composition.transfer.taking_turns(), self.costs.transfer,
        )  # fmt: skip

    def _elsewhere(self, slots: SlotTable, clock: Clock, placement: Placement | None) -> Elsewhere | None:
        part = self.composition.placement
        if (host := part.host(self)) is None:
            return None
        self.open_home(slots)
        chosen = placement or self.composition.residency.placement(self, host) or Placement(host, self.costs.transfer)
        return Elsewhere(chosen, host, clock, self._device_time if part.balance else None)

    def _device_time(self, rows: int, experts: int) -> float:
        """What the device takes for one of a layer's experts, which so many rows use (s): all are half of the layer."""
        return self.costs.at(self.costs.target_layer, rows // self.model.top_k) / 2 / experts
