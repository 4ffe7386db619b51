"""The verdict on a cell, derived from invariants and never from what a system says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from harness.config.bench import MeasureConfig
from harness.metrics.base import Cell, Value
from harness.records.generation import needs
from systems.api import SystemConfig, traits

Status = Literal[
    "ok", "did_not_fit", "unsupported", "draft_inactive", "nothing_offloaded", "diverged", "noisy", "beyond_bound",
    "failed",
]  # fmt: skip
UNMEASURED = ("failed", "did_not_fit", "unsupported")
"""Verdicts without usable times."""
FAILING = ("failed", "diverged", "beyond_bound")
"""Verdicts that are bugs: the run's exit code says so."""


def is_resident(system: SystemConfig) -> bool:
    """Whether a system keeps all experts in fast memory by design, outside any budget."""
    return traits(system).keeps_all


def judge(
    system: SystemConfig, cell: Cell, metrics: Mapping[str, Value], measure: MeasureConfig
) -> tuple[Status, str | None]:
    """Return the first verdict that applies, worst first, and the sentence that explains it."""
    match = metrics["exact_match"].value
    if system.lossless and match is not None and match < 1:
        position = metrics["first_divergence"].value
        reason = f"{1 - match:.1%} of outputs leave plain greedy decoding, first at position {position:.0f}"
        return "diverged", reason
    parts = traits(system)
    # A governor may find that no draft pays.
    if parts.drafts and not parts.governed and not _drafted(cell):
        return "draft_inactive", "a draft is configured, but nothing was drafted"
    if not parts.moves_nothing and _offloaded_nothing(cell):
        return "nothing_offloaded", "every expert needed while decoding was in fast memory; lower `budget`"
    tpot = metrics["tpot"]
    if tpot.value and tpot.low is not None and tpot.high is not None:
        spread = (tpot.high - tpot.low) / 2 / tpot.value
        if spread > measure.noisy_above:
            return "noisy", f"TPOT is known to ±{spread:.0%} only; more prompts (`dataset.limit`) narrow it"
    return "ok", None


def _drafted(cell: Cell) -> bool:
    return any(any(step.drafted) for generation in cell.generations for step in generation.steps)


def _offloaded_nothing(cell: Cell) -> bool:
    traffic = [generation.traffic("decode") for generation in cell.generations]
    missed = any(report.moved_bytes or needs(report)["elsewhere"] for report in traffic)
    return any(report.layers for report in traffic) and not missed
