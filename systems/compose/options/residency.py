"""Which experts stay, where the policy needs more than itself."""

from __future__ import annotations

from dataclasses import dataclass

from systems.contract.options import INT4_GROUPS, require


@dataclass(frozen=True, slots=True)
class AllResidentOptions:
    """`residency.part: all`: every expert has a slot, whatever the budget says: the upper bound."""


@dataclass(frozen=True, slots=True)
class Int4Options:
    """`residency.part: int4`: an INT4 copy of every expert, `group` weights to a scale, is all there is (lossy)."""

    group: int = 128

    def __post_init__(self) -> None:
        require(self.group in INT4_GROUPS, "residency.group", self.group, "32, 64, 128 or 256")


@dataclass(frozen=True, slots=True)
class ActivationAwareOptions:
    """`residency.part: activation_aware`: MoE-Infinity's. `decay` lets experts of later layers count for less, as the
    paper does."""

    decay: bool = False


@dataclass(frozen=True, slots=True)
class BeladyOptions:
    """`residency.part: belady`: the oracle's; needs predictor.part=rehearsal."""
