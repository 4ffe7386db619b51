"""What a system is, whatever its parts are called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traits:
    """What the parts of a system say of it.

    Attributes:
        composed: it is made of parts, and no peer.
        drafts: it speculates; `governed`: lengths are chosen at run time, and may be 0.
        prefetches: it fetches experts before they are needed.
        keeps_all: all experts are in fast memory by design, outside any budget.
        keeps_nothing: it fetches every needed expert again in every forward.
        moves_nothing: no expert ever crosses the link, since all of them are in fast memory in some form.
        knows_future: it is an oracle.
        computes_in_place: it may compute missing experts where they lie.
    """

    composed: bool
    drafts: bool
    governed: bool
    prefetches: bool
    keeps_all: bool
    keeps_nothing: bool
    moves_nothing: bool
    knows_future: bool
    computes_in_place: bool
