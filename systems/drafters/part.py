"""Who proposes tokens, in general: the pair's draft model, or the text itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from systems.contract.errors import BadInput
from systems.contract.options import require, require_length
from systems.policies.decoding_part import DrafterPart
from systems.policies.draft_lengths import DraftLengths

if TYPE_CHECKING:
    from systems.policies.composition import Composition
    from systems.runtime.drafting import Drafter
    from systems.runtime.pair import Pair
    from systems.runtime.site import LiveSite, Site


@dataclass(frozen=True, slots=True)
class ModelDrafterPart(DrafterPart):
    """`drafter.part: model`: the pair's draft model proposes `draft_length` tokens per step.

    It computes the rows of a batch in `split` parts at the same time, each in a thread of its own. `by_positions`,
    where given, says from how many positions of all rows together on how many tokens are drafted. With `ahead` it goes
    on drafting while a verification waits for host and link; see `DraftAhead`. An `optional` one is given up
    in the warm-up if experts in its place are worth more.
    """

    draft_length: int = 2
    ahead: bool = False
    optional: bool = False
    split: int = 1
    by_positions: dict[int, int] | None = None

    part: ClassVar[str] = "model"
    needs_draft: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_length("drafter", self.draft_length)
        require(self.split >= 1, "drafter.split", self.split, "at least 1")
        if (table := self.by_positions) is not None:
            valid = 0 in table and min(table) == 0 and all(1 <= n <= self.draft_length for n in table.values())
            expected = "draft lengths from 1 to drafter.draft_length by positions, from 0 on"
            require(valid, "drafter.by_positions", table, expected)

    @property
    def follows_positions(self) -> bool:
        """With a table."""
        return self.by_positions is not None

    def check(self, others: Composition) -> None:
        """Refuse to free memory that nobody fills, and to divide what a predictor hears whole."""
        if self.optional and others.residency.part != "value":
            raise BadInput(
                "drafter.optional=true may give its memory to further slots, which residency.part=value fills"
            )
        if self.split > 1 and others.predictor.part == "draft_attention":
            raise BadInput("predictor.part=draft_attention listens to the whole batch at once; set drafter.split=1")

    def host_only(self, virtual: bool) -> str | None:
        """Parts of a batch are threads."""
        if self.split == 1 or virtual:
            return None
        return "drafter.split divides the host's processors; set drafter.split=1 or model.device=cpu"

    def fast_bytes(self, pair: Pair) -> int:
        """The draft model's weights."""
        if pair.draft is None:
            raise BadInput(f"drafter.part=model needs a draft, and model {pair.name} has none; set `model.draft`")
        return pair.draft_bytes

    def token_time(self, site: Site) -> float:
        """Of the draft model."""
        return site.model.draft_layers * site.costs.at(site.costs.draft_layer, 1)

    def build(self, site: LiveSite) -> Drafter:
        """Make the drafter."""
        from systems.drafters.model import ModelDrafter
        from systems.runtime.split_decoder import SplitDecoder

        make = site.make_decoder
        if self.split > 1 and not site.clock.virtual:
            make = partial(SplitDecoder, parts=self.split)
        lengths = DraftLengths(self.by_positions) if self.by_positions else None
        pair, pace = site.pair, site.pace if site.clock.virtual else None
        return ModelDrafter(
            pair.draft, self.draft_length, pair.draft_bytes, site.draft_listener, pace, make, lengths, self.ahead
        )


@dataclass(frozen=True, slots=True)
class PromptLookupPart(DrafterPart):
    """`drafter.part: prompt_lookup`: what followed the row's last n-gram before, n at most `longest`."""

    draft_length: int = 4
    longest: int = 3

    part: ClassVar[str] = "prompt_lookup"

    def __post_init__(self) -> None:
        require_length("drafter", self.draft_length)
        require(self.longest >= 1, "drafter.longest", self.longest, "at least 1")

    def build(self, site: LiveSite) -> Drafter:
        """Make the drafter."""
        from systems.drafters.prompt_lookup import PromptLookup

        return PromptLookup(self.draft_length, self.longest, site.device)


@dataclass(frozen=True, slots=True)
class SelfDrafterPart(DrafterPart):
    """The target drafts for itself."""

    draft_length: int = 4

    part: ClassVar[str] = ""
    in_parts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_length("drafter", self.draft_length)

    def token_time(self, site: Site) -> float:
        """Of the target."""
        return site.model.decoder_layers * site.costs.at(site.costs.target_layer, 1)
