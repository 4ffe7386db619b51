"""SP-MoE (arXiv 2510.10302): the draft's attention names experts, and a cutoff says for how many layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from systems.contract.options import require
from systems.methods.sp_moe.chosen_by_replay import CutoffSearch
from systems.methods.sp_moe.warm_up import WarmUp
from systems.policies.depth import Depth
from systems.policies.listening import Listener
from systems.policies.part import FetchingPart, HintingPart

if TYPE_CHECKING:
    from systems.runtime.site import LiveSite, Site


@dataclass(frozen=True, slots=True)
class DraftAttentionPart(HintingPart):
    """`predictor.part: draft_attention`: SP-MoE's predictor."""

    part: ClassVar[str] = "draft_attention"
    acts_through: ClassVar[str] = "cutoff"
    listens_to: ClassVar[str | None] = "model"
    aligned_draft: ClassVar[bool] = True

    def draft_listener(self, site: LiveSite, depth: Any) -> Any:
        """Make what hears the draft's attention."""
        from systems.methods.sp_moe.draft_attention import DraftAttention

        return DraftAttention(site.pair, depth, site.hinting.prefetch)


@dataclass(frozen=True, slots=True)
class CutoffPart(FetchingPart):
    """`prefetch.part: cutoff`: fetch what is predicted for the first `cutoff` MoE layers.

    `cutoff` counts layers: 0 is none, `auto` takes the one at which the warm-up, played over, is fastest.
    """

    cutoff: int | Literal["auto"] = "auto"

    part: ClassVar[str] = "cutoff"

    def __post_init__(self) -> None:
        FetchingPart.__post_init__(self)
        valid = self.cutoff == "auto" or (isinstance(self.cutoff, int) and self.cutoff >= 0)
        require(valid, "prefetch.cutoff", self.cutoff, "auto or a number of layers from 0")

    def reach(self, layers: int) -> Depth:
        """As deep as it is told."""
        return Depth(self.cutoff, layers)

    def search(self, site: Site, listener: Listener | None) -> CutoffSearch | None:
        """Make what plays the warm-up over."""
        if self.cutoff != "auto":
            return None
        search = CutoffSearch(site.twin, site.shape.layers, WarmUp(listener))
        site.note(search.describe)
        return search
