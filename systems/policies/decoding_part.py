"""The kinds of parts that have to do with decoding; see `part.py`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from systems.contract.errors import BadInput
from systems.policies.part import Part

if TYPE_CHECKING:
    from systems.policies.composition import Composition
    from systems.policies.draft_lengths import DraftGovernor


@dataclass(frozen=True, slots=True)
class DrafterPart(Part):
    """Who proposes tokens."""

    kind: ClassVar[str] = "drafter"
    part: ClassVar[str] = "none"
    needs_draft: ClassVar[bool] = False
    """Whether it needs the pair's draft model."""
    in_parts: ClassVar[bool] = True
    """Whether it works where a batch is computed in parts, which do not say which rows they are of."""

    @property
    def draft_length(self) -> int:
        """The longest draft (tokens)."""
        return 0

    @property
    def ahead(self) -> bool:
        """Whether it goes on drafting while a verification waits."""
        return False

    @property
    def optional(self) -> bool:
        """Whether the warm-up may give it up for more experts."""
        return False

    @property
    def follows_positions(self) -> bool:
        """Whether its draft length is a matter of the batch."""
        return False

    @property
    def int4_group(self) -> int | None:
        """Weights to a scale of the INT4 copies that it makes; None: it makes none."""
        return None

    def fast_bytes(self, pair: Any) -> int:
        """Fast memory of the draft (bytes), of a `systems.runtime.pair.Pair`."""
        return 0

    def token_time(self, site: Any) -> float:
        """Seconds that drafting a token takes, by the costs."""
        return 0.0

    def build(self, site: Any) -> Any:
        """Make what drafts at a live site; None: nothing does."""
        return None


@dataclass(frozen=True, slots=True)
class GovernorPart(Part):
    """Who chooses draft lengths at run time."""

    kind: ClassVar[str] = "governor"
    part: ClassVar[str] = "none"

    def check(self, others: Composition) -> None:
        """Refuse to govern what does not draft, or goes by a table of its own."""
        if self.does_nothing:
            return
        if others.drafter.does_nothing:
            raise BadInput(
                f"governor.part={self.part} has no drafter to govern; set drafter.part, or governor.part=none"
            )
        if others.drafter.follows_positions:
            raise BadInput(
                f"drafter.by_positions chooses draft lengths, too; set it to null, or governor.part={self.part} to none"
            )

    def build(self, site: Any, longest: int, token_time: float) -> DraftGovernor | None:
        """Make what chooses lengths up to `longest`, where drafting a token takes `token_time` seconds."""
        return None


@dataclass(frozen=True, slots=True)
class GatingPart(Part):
    """Which of the experts that the router names are computed."""

    kind: ClassVar[str] = "gating"
    part: ClassVar[str] = "none"
    profiles: ClassVar[bool] = False
    """Whether it learns from prompts before the warm-up."""

    def untold(self) -> str | None:
        """Other outputs are not in the trace."""
        if self.does_nothing:
            return None
        return "gating changes what is generated, which a trace cannot tell"

    def build(self, site: Any, mixer: Any) -> Any:
        """Make what computes a layer's experts, around what did until now, at a live site."""
        return mixer


@dataclass(frozen=True, slots=True)
class AttentionPart(Part):
    """How attention is computed."""

    kind: ClassVar[str] = "attention"
    part: ClassVar[str] = "none"

    @property
    def micro_batches(self) -> int:
        """Parts of a batch that visit each layer by themselves."""
        return 1

    def build(self, site: Any) -> Any:
        """Make what makes decoders at a live site; None: the usual ones are made."""
        return None


@dataclass(frozen=True, slots=True)
class EnginePart(Part):
    """Who runs the models: this project, or a peer."""

    kind: ClassVar[str] = "engine"
    part: ClassVar[str] = "composed"
    packages: ClassVar[tuple[str, ...]] = ()
    """What it runs on beyond the project's own dependencies."""
    extra: ClassVar[str] = ""
    """The extra that installs them."""
    needs_draft: ClassVar[bool] = False
    """As of `DrafterPart`."""

    @property
    def missing(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]

    def untold(self) -> str | None:
        """A trace knows nothing of other engines."""
        return None if self.does_nothing else f"engine.part={self.part} cannot be replayed"

    def build(self, pair: Any, budget_bytes: int, link: Any) -> Any:
        """Make the peer."""
        raise NotImplementedError
