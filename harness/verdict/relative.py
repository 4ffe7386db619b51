"""How each system stands among the others of a run: gap to the oracle, verdict of the bounds, speedups.

All of it is derived from the rows and records of finished cells, so that it costs nothing to derive again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.metrics import oracle_gap, speedup, tpot
from harness.metrics.base import Cell, Value
from harness.metrics.pairing import Sides, ratio
from harness.records.lines import generations, read_requests
from harness.records.summary_file import Row
from harness.verdict import bounds
from harness.verdict.bounds import Systems
from harness.verdict.status import UNMEASURED
from systems.api import traits

UNSOUND = (*UNMEASURED, "diverged")
AllSides = dict[str, Sides]
"""Seconds and tokens by batch of prompts, by system; systems without usable times are absent."""


def sides_of(rows: Sequence[Row], folders: Mapping[str, Path]) -> AllSides:
    """Read the times of every system that has some from its cell on disk."""
    labels = [row["system"] for row in rows if row["status"] not in UNMEASURED]
    return {label: _sides(folders[label]) for label in labels}


def _sides(folder: Path) -> Sides:
    """Return decode seconds and tokens by batch of a cell on disk."""
    sums = Cell(generations(read_requests(folder), ())).sums(tpot.parts)
    return {batch: (seconds, tokens) for batch, (seconds, tokens) in sums.items() if tokens}


def with_gaps(rows: Sequence[Row], sides: AllSides, systems: Systems) -> list[Row]:
    """Return the rows with `oracle_gap`, to the oracle that bounds each system, and `oracle_gap_any`, to the fastest of
    the run."""
    names = [name for name in _oracles(rows, systems) if name in sides]

    def gap(label: str) -> Value:
        definition = oracle_gap.SAME_DRAFT
        if label in names:
            return definition.unknown("this is an oracle")
        if (chosen := bounds.oracle_of(label, names, systems)) is None:
            wanted = "; it would be one with `placement.part=cpu`" if bounds.computes_elsewhere(systems[label]) else ""
            return definition.unknown(f"no oracle drafts alike and may compute where this system may{wanted}")
        return oracle_gap.between(definition, chosen, sides[chosen], sides[label])

    def gap_any(label: str) -> Value:
        definition = oracle_gap.ANY_DRAFT
        if not names:
            return definition.unknown("no oracle takes part; add `oracle` to `systems`")
        if label == names[0]:
            return definition.unknown("this is the fastest oracle")
        if not bounds.as_fast_a_host(systems[label], systems[names[0]]):
            return definition.unknown("it has a host of its own, faster or slower than the oracles'")
        return oracle_gap.between(definition, names[0], sides[names[0]], sides[label])

    def gaps(label: str) -> dict[str, Value]:
        return {oracle_gap.GAP: gap(label), oracle_gap.ANY: gap_any(label)}

    return [_add(row, gaps(row["system"])) if row["system"] in sides else row for row in rows]


def judged(rows: Sequence[Row], sides: AllSides, systems: Systems, repeats: int) -> list[Row]:
    """Return the rows with the status `beyond_bound` where one passes a bound that holds for it.

    Args:
        rows: with gaps. They must have been measured interleaved: drift of the machine would pass for a bug.
        repeats: generations behind each batch of prompts.
    """
    known = {row["system"]: row for row in rows if row["status"] in bounds.JUDGED}
    oracles = _oracles(rows, systems)
    ceilings = [label for label in known if bounds.keeps_nothing(systems[label])]

    def broken(row: Row) -> Iterator[str]:
        label = row["system"]
        system = systems[label]
        if label in oracles or not bounds.is_bounded(system, row):
            return
        if (oracle := bounds.oracle_of(label, [name for name in oracles if name in known], systems)) is not None:
            least = None if bounds.computes_elsewhere(system) else _fewest(known[oracle], sides[oracle])
            yield from bounds.below_oracle(row, oracle, least, _head_start(row, sides[label], repeats))
        if not traits(system).prefetches and (ceiling := bounds.same_draft(label, ceilings, systems)):
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
            found |= speedup.over(name, sides[name], sides[label]) if name != label else {}
        return found

    return [_add(row, values(row["system"])) if row["system"] in sides else row for row in rows]


def _oracles(rows: Sequence[Row], systems: Systems) -> list[str]:
    """Return the oracles that may be believed, the fastest first."""
    found = [row for row in rows if bounds.is_oracle(systems[row["system"]]) and row["status"] not in UNSOUND]
    return [row["system"] for row in sorted(found, key=_tpot)]


def _fewest(oracle: Row, sides: Sides) -> float | None:
    """Return the bytes per token that an oracle knows to be needed, None where it does not say."""
    tokens = sum(tokens for _, tokens in sides.values())
    fewest: int | None = oracle.get("description", {}).get("fewest_bytes")
    return fewest / tokens if fewest is not None and tokens else None


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
