"""The change of a metric between two result sets, paired over prompts, and whether it is a regression.

A change counts when two things hold: its interval excludes "no change", and it is larger than the noise floor. The
first alone cries wolf, as drift between two runs is in no interval over prompts; the second alone takes for a change
what a few odd prompts did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.gates.sets import Cell, Parts, named
from harness.metrics import definitions
from harness.metrics.base import Definition
from harness.metrics.intervals import Pair, paired_interval

Verdict = Literal["regressed", "improved", "same", "unclear"]
"""`unclear` has an interval that holds both no change and one beyond twice the floor: more prompts are needed."""
COMPARED: dict[str, Definition] = {name: item for name, item in definitions().items() if item.gated}
TIMES = tuple(name for name, item in COMPARED.items() if item.gated == "timed")
FLOOR = 0.03
"""Least relative change that counts, on a machine whose noise was not measured, and never less for measured times."""
EXACT_FLOOR = 1e-9
"""Of what is computed and not timed: replays, and whether tokens are the same."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A metric of a system: values before and after, the ratio after / before with its interval, the verdict."""

    system: str
    metric: str
    before: float
    after: float
    ratio: float
    low: float
    high: float
    prompts: int
    verdict: Verdict


def effects(system: str, base: Cell, new: Cell, floor: float) -> list[Effect]:
    """Return the effect on every metric that both cells have, under the same definition.

    Args:
        floor: relative change of times that is noise on this machine.
    """
    found = []
    for metric, definition in COMPARED.items():
        ids = [cell.row["metrics"].get(metric, {}).get("definition") for cell in (base, new)]
        if ids == [definition.id] * 2 and (pairs := _pairs(base.parts.get(metric, {}), new.parts.get(metric, {}))):
            exact = base.row.get("replayed") or metric == "exact_match"
            found.append(_effect(system, metric, pairs, EXACT_FLOOR if exact else floor, definition.better == "lower"))
    return found


def incomparable(base: Cell, new: Cell) -> list[str]:
    """Say of which metrics there is no effect although a cell has them: two definitions, or nothing to pair with."""
    texts = []
    for metric, definition in COMPARED.items():
        ids = [cell.row["metrics"].get(metric, {}).get("definition") for cell in (base, new)]
        parts = [cell.parts.get(metric, {}) for cell in (base, new)]
        known = [any(down for _, down in side.values()) for side in parts]
        if ids != [definition.id] * 2 and any(ids):
            texts.append(f"{metric} is {ids[0]} in the base and {ids[1]} in the new set; {definition.id} is compared")
        elif known[0] != known[1]:
            texts.append(f"{metric} is known in the {'base' if known[0] else 'new set'} only")
        elif alone := sorted({prompt for prompts in parts[0].keys() ^ parts[1].keys() for prompt in prompts}):
            texts.append(f"{metric} has no two records to compare of {named(alone)}")
    return texts


def _pairs(base: Parts, new: Parts) -> list[tuple[Pair, Pair]]:
    both = [(base[prompts], new[prompts]) for prompts in base if prompts in new]
    return both if sum(bool(one[1] and two[1]) for one, two in both) > 1 else []


def _effect(system: str, metric: str, pairs: list[tuple[Pair, Pair]], floor: float, lower: bool) -> Effect:
    base, new = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    before, after = (sum(up for up, _ in side) / sum(down for _, down in side) for side in (base, new))
    ratio, low, high = _interval(base, new) if before else _from_nothing(after)
    return Effect(system, metric, before, after, ratio, low, high, len(pairs), _verdict(ratio, low, high, floor, lower))


def _interval(base: list[Pair], new: list[Pair]) -> tuple[float, float, float]:
    """Return the ratio with its bounds; it may be anything where the base has something in one batch only."""
    ratio, low, high = paired_interval(new, base)
    return (ratio, 0.0, float("inf")) if low is None or high is None else (ratio, low, high)


def _from_nothing(after: float) -> tuple[float, float, float]:
    """Return the ratio to 0: as large as it gets where anything is there now."""
    ratio = 1.0 if after == 0 else float("inf")
    return ratio, ratio, ratio


def _verdict(ratio: float, low: float, high: float, floor: float, lower: bool) -> Verdict:
    if ratio > 1 + floor and low > 1:
        return "regressed" if lower else "improved"
    if ratio < 1 / (1 + floor) and high < 1:
        return "improved" if lower else "regressed"
    worst = high if lower else 1 / low if low else float("inf")
    return "unclear" if worst > (1 + floor) ** 2 and floor > EXACT_FLOOR else "same"
