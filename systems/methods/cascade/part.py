"""Cascade: draft lengths by what they have been worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from systems.methods.cascade.governor import Cascade
from systems.policies.decoding_part import GovernorPart
from systems.policies.draft_lengths import DraftGovernor

if TYPE_CHECKING:
    from systems.runtime.site import Site


@dataclass(frozen=True, slots=True)
class CascadePart(GovernorPart):
    """`governor.part: cascade`: lengths from 0 to `drafter.draft_length` by their measured utility; see
    `systems.methods.cascade.governor`."""

    part: ClassVar[str] = "cascade"

    def build(self, site: Site, longest: int, token_time: float) -> DraftGovernor:
        """Make the governor."""
        return Cascade(longest)
