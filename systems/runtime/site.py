"""Where parts are built: what a system under construction offers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from systems.cache.clock import Clock, Pace, VirtualClock
from systems.cache.expert_cache import ExpertCache
from systems.contract.costs import Costs, LinkSpec
from systems.policies.composition import Composition
from systems.policies.hinting import Hinting, Predict, Prefetcher
from systems.policies.listening import Listener
from systems.policies.orders import Shape
from systems.policies.placement import Placement
from systems.policies.residency import Residency
from systems.runtime.activation_file import Stored

if TYPE_CHECKING:
    import torch

    from systems.modeling.decoder import MakeDecoder
    from systems.runtime.pair import Pair

T = TypeVar("T")


class Model(Protocol):
    """What parts ask of a target: its numbers."""

    top_k: int
    record_bytes: int
    decoder_layers: int
    """All layers of the target, those without experts too."""
    draft_layers: int
    """Layers of the draft model; 0 without one."""


@dataclass
class Twin:
    """What a system decides with, made once more, on a virtual clock and over slots without memory.

    Attributes:
        draft_ordinals: per layer of the draft, the ordinal of the target's MoE layer beside it, negative for none.
    """

    cache: ExpertCache
    residency: Residency
    listener: Listener
    pace: Pace
    draft_ordinals: Sequence[int]


class Site(Protocol):
    """What live and replayed systems offer. They are built in this order, and each may ask for those before it:
    residency, cache, what takes hints, what listens, and last what computes.

    Attributes:
        link: None stands for the machine's own.
        stored: activation matrices that were collected before; None where there are none.
        prefetcher: what takes hints, the cache or what stands before it.
        scheduler: what fetches for a self-draft; None where nothing does.
    """

    composition: Composition
    model: Model
    shape: Shape
    link: LinkSpec | None
    costs: Costs
    clock: Clock
    pace: Pace
    stored: Stored | None
    residency: Residency
    cache: ExpertCache
    prefetcher: Prefetcher
    hinting: Hinting
    scheduler: Any

    @property
    def micro_batches(self) -> int:
        """Parts of a batch that visit each layer; on a virtual clock they are computed as one."""

    @property
    def emulated_link(self) -> LinkSpec:
        """The link, or one as the costs say."""

    def note(self, fact: Callable[[], dict[str, Any]]) -> None:
        """Let the record say what a part has chosen."""

    def shared(self, kind: type[T], make: Callable[[], T]) -> T:
        """Return the object of a kind that all parts of this system share; made by whoever asks first."""

    def hides(self, tokens: int) -> float:
        """Transfers that fit into the time of a layer over so many tokens."""

    def predict(self) -> Predict:
        """How the routers of later layers are asked."""

    def imagined_cache(
        self, clock: VirtualClock, residency: Residency, placement: Placement | None = None
    ) -> ExpertCache:
        """Make an empty cache like that of the system, on a virtual clock, over its link or one as the costs say."""

    def twin(self) -> Twin:
        """What the system decides with once more, on a virtual clock of its own."""


class LiveSite(Site, Protocol):
    """What a system over a loaded pair offers besides."""

    pair: Pair
    device: torch.device

    @property
    def make_decoder(self) -> MakeDecoder:
        """What computes forwards of target and draft."""

    @property
    def draft_listener(self) -> Any:
        """What listens to the draft model's layers; None: nothing does."""

    def govern(self, longest: int, token_time: float) -> None:
        """Let a self-draft be fetched for, and draft lengths be chosen, where the system says so.

        Args:
            longest: the longest draft.
            token_time: seconds of drafting one token.
        """
