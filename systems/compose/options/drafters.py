"""Who proposes tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from systems.contract.options import INT4_GROUPS, require


@dataclass(frozen=True, slots=True)
class ModelDrafterOptions:
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

    def __post_init__(self) -> None:
        expected = "at least 1; drafter.part=none drafts nothing"
        require(self.draft_length >= 1, "drafter.draft_length", self.draft_length, expected)
        require(self.split >= 1, "drafter.split", self.split, "at least 1")
        if (table := self.by_positions) is not None:
            valid = 0 in table and min(table) == 0 and all(1 <= n <= self.draft_length for n in table.values())
            expected = "draft lengths from 1 to drafter.draft_length by positions, from 0 on"
            require(valid, "drafter.by_positions", table, expected)


@dataclass(frozen=True, slots=True)
class QuantisedSelfOptions:
    """`drafter.part: quantised_self`: the target with INT4 experts, `group` weights to a scale, drafts for itself."""

    draft_length: int = 4
    group: int = 128

    def __post_init__(self) -> None:
        expected = "at least 1; drafter.part=none drafts nothing"
        require(self.draft_length >= 1, "drafter.draft_length", self.draft_length, expected)
        require(self.group in INT4_GROUPS, "drafter.group", self.group, "32, 64, 128 or 256")


@dataclass(frozen=True, slots=True)
class ResidentSelfOptions:
    """`drafter.part: resident_self`: the target with its pinned experts only drafts for itself.

    `routing` chooses who stands in for an expert that is not pinned: the one with the nearest weights, or any.
    """

    draft_length: int = 4
    routing: Literal["affinity", "random"] = "affinity"

    def __post_init__(self) -> None:
        expected = "at least 1; drafter.part=none drafts nothing"
        require(self.draft_length >= 1, "drafter.draft_length", self.draft_length, expected)


@dataclass(frozen=True, slots=True)
class CachedSelfOptions:
    """`drafter.part: cached_self`: the target drafts for itself with what the cache holds; see
    `systems.methods.cached_self.drafter`."""

    draft_length: int = 4

    def __post_init__(self) -> None:
        expected = "at least 1; drafter.part=none drafts nothing"
        require(self.draft_length >= 1, "drafter.draft_length", self.draft_length, expected)


@dataclass(frozen=True, slots=True)
class PromptLookupOptions:
    """`drafter.part: prompt_lookup`: what followed the row's last n-gram before, n at most `longest`."""

    draft_length: int = 4
    longest: int = 3

    def __post_init__(self) -> None:
        expected = "at least 1; drafter.part=none drafts nothing"
        require(self.draft_length >= 1, "drafter.draft_length", self.draft_length, expected)
        require(self.longest >= 1, "drafter.longest", self.longest, "at least 1")


@dataclass(frozen=True, slots=True)
class RooflineOptions:
    """`governor.part: roofline`: every step drafts as many tokens as MoE-SpeQ's roofline wants, at most
    `drafter.draft_length`, and where `latency` is given no more than what fits a cycle of so many seconds."""

    latency: float | None = None

    def __post_init__(self) -> None:
        require(self.latency is None or self.latency > 0, "governor.latency", self.latency, "positive (seconds)")


@dataclass(frozen=True, slots=True)
class CascadeOptions:
    """`governor.part: cascade`: lengths from 0 to `drafter.draft_length` by their measured utility; see
    `systems.methods.cascade.governor`."""
