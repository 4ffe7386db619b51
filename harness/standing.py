"""How each system stands among the others of a run: gap to the oracle, verdict of the bounds, speedups.

All of it is derived from the rows and records of finished cells, so that it costs nothing to derive again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness import bounds
from harness.bounds import Systems
from harness.metrics import oracle_gap, speedup
from harness.metrics.base import Value
from harness.metrics.pairing import Sides, ratio
from harness.records import Row, stored_sides

AllSides = dict[str, Sides]
"""Seconds and tokens by batch of prompts, by system; systems without usable times are absent."""


def sides_of(rows: Sequence[Row], folders: Mapping[str, Path]) -> AllSides:
    """Read the times of every system that has some from its cell on disk."""
    labels = [row["system"] for row in rows if row["status"] not in ("failed", "did_not_fit")]
    return {label: stored_sides(folders[label]) for label in labels}


def with_gaps(rows: Sequence[Row], sides: AllSides, systems: Systems) -> list[Row]:
    """Return the rows with `oracle_gap`, to the oracle of the same draft, else to the fastest of the run."""
    oracles = [row for row in rows if bounds.is_oracle(systems[row["system"]]) and row["system"] in sides]
    oracles = sorted((row for row in oracles if row["status"] != "diverged"), key=_tpot)
    names = [row["system"] for row in oracles]

    def gap(row: Row) -> Value:
        label = row["system"]
        if label in names:
            return oracle_gap.SAME_DRAFT.unknown("this is the oracle")
        if not names:
            return oracle_gap.SAME_DRAFT.unknown("no oracle takes part; add `oracle` or `sd_oracle` to `systems`")
        same = bounds.same_draft(label, names, systems)
        chosen = same or names[0]
        return oracle_gap.measure(chosen, sides[chosen], sides[label], same is not None)

    return [_add(row, {oracle_gap.GAP: gap(row)}) if row["system"] in sides else row for row in rows]


def judged(rows: Sequence[Row], sides: AllSides, systems: Systems, repeats: int) -> list[Row]:
    """Return the rows with the status `beyond_bound` where one passes a bound that holds for it.

    Args:
        rows: with gaps. They must have been measured interleaved: drift of the machine would pass for a bug.
        repeats: generations behind each batch of prompts.
    """
    known = {row["system"]: row for row in rows if row["status"] in bounds.JUDGED}
    oracles = [label for label in known if bounds.is_oracle(systems[label])]
    ceilings = [label for label in known if bounds.keeps_nothing(systems[label])]

    def broken(row: Row) -> Iterator[str]:
        label = row["system"]
        system = systems[label]
        if label in oracles or not bounds.is_bounded(system, row):
            return
        if oracle := bounds.same_draft(label, oracles, systems):
            yield from bounds.below_oracle(row, known[oracle], _head_start(row, sides[label], repeats))
        if system.prefetch["part"] == "none" and (ceiling := bounds.same_draft(label, ceilings, systems)):
            slowdown = ratio(speedup.SPEEDUP, sides[label], sides[ceiling], ceiling)
            yield from bounds.above_nothing_kept(row, known[ceiling], slowdown)

    return [row | _verdict(list(broken(row))) for row in rows]


def with_speedups(rows: Sequence[Row], sides: AllSides, baselines: Sequence[str]) -> list[Row]:
    """Return the rows with speedups over each baseline that was measured, else over the first system, and over
    the fastest baseline that is lossless and `ok`.
    """
    over = [name for name in baselines if name in sides] or list(sides)[:1]
    sound = [row for row in rows if row["system"] in over and row["lossless"] and row["status"] == "ok"]
    ranking = [row["system"] for row in sorted(sound, key=_tpot)]

    def values(label: str) -> dict[str, Value]:
        best = next((name for name in ranking if name != label), None)
        found = speedup.over_best(best, sides, sides[label])
        for name in over:
            found |= speedup.measure(name, sides[name], sides[label]) if name != label else {}
        return found

    return [_add(row, values(row["system"])) if row["system"] in sides else row for row in rows]


def _head_start(row: Row, sides: Sides, repeats: int) -> float:
    """Return all of the system's fast memory once per generation, in bytes per token."""
    tokens = sum(tokens for _, tokens in sides.values())
    held: float = row["metrics"]["peak_fast_bytes"]["value"]
    return held * len(sides) * repeats / tokens if tokens else 0.0


def _verdict(broken: Sequence[str]) -> Row:
    return {"status": "beyond_bound", "reason": "; ".join(broken)} if broken else {}


def _tpot(row: Row) -> float:
    """Sort key: the pooled TPOT (s), unknown ones last."""
    value: float | None = row["metrics"]["tpot"]["value"]
    return float("inf") if value is None else value


def _add(row: Row, values: Mapping[str, Value]) -> Row:
    return row | {"metrics": row["metrics"] | {id: value.row() for id, value in values.items()}}
