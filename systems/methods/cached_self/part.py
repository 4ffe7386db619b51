"""The target drafts for itself with what the cache holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from systems.contract.errors import BadInput
from systems.drafters.part import SelfDrafterPart

if TYPE_CHECKING:
    from systems.policies.composition import Composition
    from systems.runtime.drafting import Drafter
    from systems.runtime.site import LiveSite


@dataclass(frozen=True, slots=True)
class CachedSelfPart(SelfDrafterPart):
    """`drafter.part: cached_self`: the target drafts for itself with what the cache holds; see
    `systems.methods.cached_self.drafter`."""

    part: ClassVar[str] = "cached_self"

    def check(self, others: Composition) -> None:
        """Refuse systems without slots that hold something."""
        residency = others.residency
        if residency.keeps_nothing or (residency.moves_nothing and not residency.keeps_all):
            raise BadInput(
                f"drafter.part=cached_self drafts with what slots hold, and residency.part={residency.part} has none"
            )

    def untold(self) -> str | None:
        """What slots hold is a matter of the budget."""
        return "drafter.part=cached_self drafts with what happens to be in fast memory, which a trace cannot tell"

    def build(self, site: LiveSite) -> Drafter:
        """Make the drafter."""
        from systems.methods.cached_self.drafter import CachedSelf

        return CachedSelf(site.pair.port, site.cache, site.pair.routers, self.draft_length, site.pace)
