"""What a system is composed of: one kind of part per question, and what each part says of itself.

A part is a frozen dataclass that lives with its method. Its fields are its options in a system's YAML; its name is
`part`. It builds what it stands for at a site (`systems.runtime.site.Site`): the system under construction. No module
of a part imports tensors before it builds.

Here are the kinds of parts that have to do with experts, in `decoding_part.py` those that have to do with decoding. The
classes are themselves the parts that do nothing, but for residency: what a part does not override is what nothing would
say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from systems.contract.errors import BadInput
from systems.contract.options import require
from systems.policies.memory import Memory

if TYPE_CHECKING:
    from systems.contract.costs import HostCosts
    from systems.policies.composition import Composition
    from systems.policies.depth import Depth
    from systems.policies.hinting import Prefetcher
    from systems.policies.listening import Listener
    from systems.policies.residency import Residency

Switch = Callable[[Any, bool], None]
"""Lets a system, of which it is given the parts, do something or leave it."""
NOTHING = "none", "beside", "composed"
"""Names of the parts that do nothing: the base classes themselves."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of any kind."""

    kind: ClassVar[str] = ""
    """The question that it answers: a key of a system's YAML."""
    part: ClassVar[str] = ""
    """Its name: `KIND: {part: NAME}` in a system's YAML."""

    @property
    def does_nothing(self) -> bool:
        """Whether it stands for the absence of such a part."""
        return self.part in NOTHING

    def check(self, others: Composition) -> None:
        """Refuse what would silently do nothing beside it.

        Raises:
            BadInput: naming the part that is missing or too many.
        """

    def host_only(self, virtual: bool) -> str | None:
        """Return why it does not run with slots on a device; None: it does. `virtual` says whether time is."""
        return None

    def untold(self) -> str | None:
        """Return why a recorded trace cannot replay it; None: it can."""
        return None


@dataclass(frozen=True, slots=True)
class PredictorPart(Part):
    """What foretells experts."""

    kind: ClassVar[str] = "predictor"
    part: ClassVar[str] = "none"
    acts_through: ClassVar[str] = "none"
    """The prefetch part that acts on it."""
    listens_to: ClassVar[str | None] = None
    """The drafter part that it listens to."""
    in_parts: ClassVar[bool] = True
    """As of `decoding_part.DrafterPart`."""
    aligned_draft: ClassVar[bool] = False
    """Whether it needs a draft model with the target's layers and width."""

    @property
    def shuffled(self) -> bool:
        """Whether other experts than those foretold are handed over; see `HintingPart`."""
        return False

    @property
    def wants_activations(self) -> bool:
        """Whether it predicts from activation matrices that were collected before."""
        return False

    def check(self, others: Composition) -> None:
        """Refuse a predictor that hears nothing, that nobody acts on, or that has no slots to act on."""
        if self.listens_to not in (None, others.drafter.part):
            raise BadInput(f"predictor.part={self.part} listens to the drafter; set drafter.part={self.listens_to}")
        if others.prefetch.part != self.acts_through:
            raise BadInput(f"predictor.part={self.part} needs prefetch.part={self.acts_through}, and the reverse")
        if others.residency.keeps_nothing and not self.does_nothing:
            raise BadInput(
                f"residency.part=none keeps nothing, so predictor.part={self.part} has no slot to fetch into; "
                "set residency.part=lru, or predictor.part=none and prefetch.part=none"
            )

    def build(self, site: Any) -> Listener | None:
        """Make what listens to the target: without a predictor, what the residency listens with."""
        listener: Listener | None = site.composition.residency.listener(site)
        return listener

    def draft_listener(self, site: Any, depth: Any) -> Any:
        """Make what listens to the draft model's layers at a live site; None: nothing does."""
        return None

    def scheduler(self, site: Any, token_time: float) -> Any:
        """Make what fetches for a self-draft, whose tokens take `token_time` seconds each; None: nothing does."""
        return None


@dataclass(frozen=True, slots=True)
class HintingPart(PredictorPart):
    """A predictor: `shuffled` hands over as many hints at the same moments, for other experts."""

    shuffled: bool = False

    in_parts: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class PrefetchPart(Part):
    """Which of the experts foretold are fetched."""

    kind: ClassVar[str] = "prefetch"
    part: ClassVar[str] = "none"

    @property
    def worker(self) -> bool:
        """Whether transfers run beside the computation; see `FetchingPart`."""
        return True

    @property
    def batch_io(self) -> int:
        """The most records in one I/O call."""
        return 4

    def build(self, site: Any) -> Prefetcher:
        """Make what takes hints: the cache itself, or what stands before it."""
        cache: Prefetcher = site.cache
        return cache

    def reach(self, layers: int) -> Depth | None:
        """How many of so many layers are prefetched; None: that is up to the predictor."""
        return None

    def search(self, site: Any, listener: Listener | None) -> Any:
        """Make what sets the depth when the warm-up has been seen; None: it is set already."""
        return None

    def optional(self, site: Any) -> Switch | None:
        """Make what follows hints or leaves them, where the warm-up decides whether they pay; None: it does not."""
        return None


@dataclass(frozen=True, slots=True)
class FetchingPart(PrefetchPart):
    """A prefetch part: `worker` lets transfers run beside the computation; without it prefetching waits for them.
    `batch_io` is the most records in one I/O call."""

    worker: bool = True
    batch_io: int = 4

    def __post_init__(self) -> None:
        require(self.batch_io >= 1, "prefetch.batch_io", self.batch_io, "at least 1")


@dataclass(frozen=True, slots=True)
class ResidencyPart(Part):
    """Which experts stay in fast memory."""

    kind: ClassVar[str] = "residency"
    keeps_all: ClassVar[bool] = False
    """Whether every expert has a slot, whatever the budget says."""
    keeps_nothing: ClassVar[bool] = False
    """Whether every needed expert is fetched in every forward."""
    moves_nothing: ClassVar[bool] = False
    """Whether no expert crosses the link."""
    knows_future: ClassVar[bool] = False
    """Whether it knows what will be needed: an oracle."""
    in_parts: ClassVar[bool] = True
    """As of `decoding_part.DrafterPart`."""

    @property
    def pinned_per_layer(self) -> int:
        """Experts of each layer that never leave."""
        return 0

    @property
    def int4_group(self) -> int | None:
        """As of `decoding_part.DrafterPart`."""
        return None

    def most_slots(self, memory: Memory) -> int | None:
        """Slots that it uses at most; None: all there are."""
        return None

    def copies_bytes(self, pair: Any) -> int:
        """Fast memory of the copies that stand for all experts (bytes), of a `systems.runtime.pair.Pair`."""
        return 0

    def check_model(self, others: Composition, top_k: int, experts: int) -> None:
        """Refuse what a model with so many experts per token and per layer does not have.

        Raises:
            BadInput: an option is out of range.
        """

    def afford(self, memory: Memory, optional: bool) -> tuple[int, int]:
        """Slots in all, and those beside the draft: fewer where that is `optional`, none if it does not fit.

        Raises:
            DidNotFit: fewer than what is pinned and one token's experts in one layer.
        """
        return memory.divided(self.pinned_per_layer, self.most_slots(memory), optional)

    def build(self, site: Any) -> Residency:
        """Make the policy."""
        raise NotImplementedError

    def listener(self, site: Any) -> Listener | None:
        """Make what it listens with, where no predictor does; None: it needs nothing."""
        return None

    def placement(self, site: Any, host: HostCosts) -> Any:
        """Make what chooses where missing experts are computed; None: the usual choice."""
        return None

    def mixer(self, site: Any) -> Any:
        """Make what computes a layer's experts without slots, at a live site; None: slots are read."""
        return None


@dataclass(frozen=True, slots=True)
class PlacementPart(Part):
    """Where missing experts are computed."""

    kind: ClassVar[str] = "placement"
    part: ClassVar[str] = "none"

    @property
    def balance(self) -> bool:
        """Whether the host may compute experts that are in fast memory, too."""
        return False

    def host(self, site: Any) -> HostCosts | None:
        """What missing experts take where they lie; None: they are not computed there.

        Raises:
            BadInput: the costs do not say.
        """
        return None


@dataclass(frozen=True, slots=True)
class TransferPart(Part):
    """How experts travel."""

    kind: ClassVar[str] = "transfer"
    part: ClassVar[str] = "beside"

    def taking_turns(self) -> Any:
        """Return how transfers take turns with the computation; None: they run beside it."""
        return None
