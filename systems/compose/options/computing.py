"""How experts are chosen and attention is computed."""

from __future__ import annotations

from dataclasses import dataclass

from systems.contract.options import require


@dataclass(frozen=True, slots=True)
class AdaptiveGatingOptions:
    """`gating.part: adaptive`: leave out experts with little weight (lossy); see `systems.methods.adapmoe.gating`."""

    tolerance: float = 0.005

    def __post_init__(self) -> None:
        require(self.tolerance > 0, "gating.tolerance", self.tolerance, "positive")


@dataclass(frozen=True, slots=True)
class ChunkedAttentionOptions:
    """`attention.part: chunked`: verification attends on the host, keys and values read once for all drafted tokens.

    The rows are cut into `micro_batches`, so that the attention of one runs beside the experts of another; each is a
    need of its own in the counts of experts.
    """

    micro_batches: int = 2

    def __post_init__(self) -> None:
        require(self.micro_batches >= 1, "attention.micro_batches", self.micro_batches, "at least 1")


@dataclass(frozen=True, slots=True)
class ExpertBudgetOptions:
    """`gating.part: expert_budget`: verifications read at most `experts` per layer (lossy); see
    `systems.methods.moe_spec.expert_budget`."""

    experts: int = 4

    def __post_init__(self) -> None:
        require(self.experts >= 1, "gating.experts", self.experts, "at least 1")
