"""Figures: one per file, each drawn from stored records alone."""

from __future__ import annotations

from harness.figures import (
    ablation,
    acceptance,
    batch,
    breakdown,
    budget,
    cutoff,
    datasets,
    hit_rate,
    moesd_activation,
    moesd_dense,
    moesd_speedup,
    pareto,
    prediction,
    routing_fidelity,
    slots,
    theta,
    time_share,
    timeline,
    tpot,
    who_wins,
)

FIGURES = {
    module.FIGURE.name: module.FIGURE
    for module in (
        tpot, budget, hit_rate, cutoff, acceptance, prediction, ablation, breakdown, time_share, routing_fidelity,
        slots, theta, datasets, pareto, timeline, batch, moesd_activation,
        moesd_dense, moesd_speedup, who_wins,
    )
}  # fmt: skip
