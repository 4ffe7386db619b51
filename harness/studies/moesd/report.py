"""What a fit says, in tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from harness.studies.moesd.activation import load_threshold, tokens_per_expert
from harness.studies.moesd.fit import Point
from harness.studies.moesd.speedup import Parameters, speedup, target_efficiency
from harness.tables.columns import Section
from systems.api import ModelPair

Facts = dict[str, Any]


def measured(points: Sequence[Point]) -> list[Facts]:
    """Return the setting of every point, and its ratios."""
    return [
        {
            "top_k": point.setting.top_k,
            "draft_length": point.setting.draft_length,
            "batch": point.setting.batch,
            "tokens_per_cycle": point.tokens_per_cycle,
            "speedup": point.speedup,
            "target_efficiency": point.target_efficiency,
        }
        for point in points
    ]


def rows(points: Sequence[Point], chosen: Sequence[Point], found: Parameters, ridge_point: float) -> list[Facts]:
    """Return every point, measured and predicted, with whether the fit has seen it."""
    return [
        facts
        | {
            "fitted": point in chosen,
            "predicted": speedup(found, point.setting, point.tokens_per_cycle, ridge_point),
            "predicted_target_efficiency": target_efficiency(found, point.setting, ridge_point),
        }
        for facts, point in zip(measured(points), points, strict=True)
    ]


def sections(facts: Facts) -> list[Section]:
    """Return speedups and target efficiencies over the batch, measured beside predicted, and activated experts."""
    return [
        *_grids(facts, "Speedup", "speedup", "predicted"),
        *_grids(facts, "Target efficiency", "target_efficiency", "predicted_target_efficiency"),
        _against_dense(facts),
        _activated(facts),
    ]


def remarks(facts: Facts, pair: ModelPair) -> list[str]:
    """Return the errors, and what the deviation from the formula comes from."""
    errors, experts, top_k = facts["mean_absolute_error"], pair.num_experts, pair.top_k
    held = "-" if errors["held_out"] is None else f"{errors['held_out']:.3f}"
    return [
        f"{facts['fitted_points']} points fitted: mean absolute error {errors['fitted']:.3f};"
        f" {facts['held_out_points']} held out: {held}",
        f"{load_threshold(experts, top_k)} tokens activate 95 % of {experts} experts at {top_k} a token, if routing is"
        " uniform",
        *_deviations(facts["activation"]),
        _load(facts["activation"][-1], experts, top_k),
    ]


def _deviations(counted: Sequence[Facts]) -> Iterator[str]:
    def away(name: str, other: str) -> float:
        return fmean(one[name] - one[other] for one in counted)

    parts = (away("uniform", "skewed"), away("skewed", "scattered"), away("scattered", "verified"))
    yield f"N(t) by the formula is {sum(parts):.2f} experts too high on average, of which"
    yield f"  {parts[0]:.2f} because experts differ in popularity"
    yield f"  {parts[1]:.2f} by chance, and because the samples are finite"
    yield f"  {parts[2]:.2f} because neighbours in a text are routed alike"


def _load(one: Facts, experts: int, top_k: int) -> str:
    tokens = one["tokens"]
    formula = tokens_per_expert(tokens, experts, top_k)
    return (
        f"at {tokens} tokens an activated expert computes {formula:.1f} of them by the formula,"
        f" {tokens * top_k / one['verified']:.1f} measured"
    )


def _grids(facts: Facts, title: str, measured: str, predicted: str) -> Iterator[Section]:
    found = {(p["top_k"], p["draft_length"], p["batch"]): p for p in facts["points"]}
    batches = sorted({batch for _, _, batch in found})
    lines: list[tuple[str, ...]] = []
    for top_k, length in sorted({(k, g) for k, g, _ in found}):
        cells = [found[top_k, length, batch] for batch in batches]
        lines.append((f"K={top_k}, {length} drafts", *(f"{p[measured]:.2f}" for p in cells)))
        lines.append(("  predicted", *(f"{p[predicted]:.2f}" + ("" if p["fitted"] else "'") for p in cells)))
    heads = ("batch", *map(str, batches))
    yield Section(f"{title}, K experts per token (' held out)", heads, (), lines, len(lines))


def _against_dense(facts: Facts) -> Section:
    own = [point for point in facts["points"] if point["top_k"] == facts["top_k"]]
    batches = sorted({point["batch"] for point in own})
    lines: list[tuple[str, ...]] = []
    for name, points in (("MoE", own), ("dense", facts["dense"])):
        found = {(point["draft_length"], point["batch"]): point["speedup"] for point in points}
        for length in sorted({length for length, _ in found}):
            lines.append((f"{name}, {length} drafts", *(f"{found[length, batch]:.2f}" for batch in batches)))
    heads = ("batch", *map(str, batches))
    return Section("Speedup beside that of a dense model with as many active weights", heads, (), lines, len(lines))


def _activated(facts: Facts) -> Section:
    heads = ("tokens", "formula", "own popularity", "any tokens", "as verified")
    lines: list[tuple[str, ...]] = [
        (str(one["tokens"]), *(f"{one[name]:.2f}" for name in ("uniform", "skewed", "scattered", "verified")))
        for one in facts["activation"]
    ]
    return Section("Distinct experts per layer over tokens", heads, (), lines, len(lines))
