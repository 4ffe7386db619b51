"""What `conf/` says of a model that is not at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from systems.contract.errors import BadInput


@dataclass(frozen=True, slots=True)
class DraftShape:
    """A draft in numbers: weights in bytes (0: those of the target in INT4), layers, and how well it foretells.

    `active_bytes` are those that one token reads (0: all). `recall` is the share of a token's experts that it names,
    `acceptance` the chance that its next token is right.
    """

    recall: float
    acceptance: float
    bytes: int = 0
    layers: int = 0
    active_bytes: int = 0

    def __post_init__(self) -> None:
        for name in ("bytes", "layers", "active_bytes"):
            if getattr(self, name) < 0:
                raise BadInput(f"`shape.draft.{name}` is {getattr(self, name)}; a positive number is needed")
        for name in ("recall", "acceptance"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"`shape.draft.{name}` is {getattr(self, name)}; a share in [0, 1] is needed")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """`conf/shape/*.yaml`: a model in numbers, for predictions without weights; 16 bits per weight.

    `other_bytes` are all weights but routed experts and the draft. `statistics` are those of the routing: `skew`,
    `request_skew`, `reuse` and `ahead` of `systems.replay.statistics.Statistics`.
    """

    name: str
    source: str
    layers: int
    moe_layers: int
    experts: int
    top_k: int
    hidden: int
    intermediate: int
    other_bytes: int
    statistics: Mapping[str, Any]
    draft: DraftShape
    self_draft: DraftShape

    def __post_init__(self) -> None:
        for name in ("layers", "moe_layers", "experts", "top_k", "hidden", "intermediate", "other_bytes"):
            if getattr(self, name) <= 0:
                raise BadInput(f"`shape.{name}` is {getattr(self, name)}; a positive number is needed")
        if self.top_k > self.experts or self.moe_layers > self.layers:
            raise BadInput("`shape.top_k` and `shape.moe_layers` must not exceed `shape.experts` and `shape.layers`")

    @property
    def expert_bytes(self) -> int:
        """Bytes of one expert."""
        return 3 * self.hidden * self.intermediate * 2


def int4_bytes(hidden: int, intermediate: int, group: int) -> int:
    """Bytes of one expert's three matrices in INT4, with a bf16 scale and zero point per group."""
    weights = 3 * hidden * intermediate
    return weights // 2 + 4 * weights // group
