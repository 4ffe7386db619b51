"""What one measured generation leaves behind: plain data that meters write and metrics read.

Times are integers in nanoseconds of one monotonic clock, so that sums and differences are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, get_args

from systems.api import LayerNeeds, Phase, SpanName, Traffic

SPANS: tuple[SpanName, ...] = get_args(SpanName)


class Commit(NamedTuple):
    """Tokens kept at one moment; under speculation one commit holds several."""

    time: int
    kept: int


class Step(NamedTuple):
    """One draft-verify cycle: `seconds` on the clock, of which `spans[name]` seconds in each span."""

    rows: tuple[int, ...]
    drafted: tuple[int, ...]
    accepted: tuple[int, ...]
    seconds: float
    spans: dict[SpanName, float]


class Report(NamedTuple):
    """A `Traffic` report and the number of steps closed before it came."""

    steps: int
    traffic: Traffic


@dataclass(slots=True)
class Row:
    """One request's side of a generation.

    `tokens` are the ids kept after trimming at the stop token and the limit; `handed` counts all ids that the
    system committed, trimmed ones included, which is what the token identity is about.
    """

    id: str
    tokens: list[int] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    handed: int = 0
    stopped: bool = False

    @property
    def decode_tokens(self) -> int:
        """Tokens behind the first commit, whose time is TTFT's: what TPOT divides by. A first commit that holds several
        tokens gives no time between them."""
        return len(self.tokens) - self.commits[0].kept if self.commits else 0

    def cut(self, drafted: int, accepted: int) -> tuple[int, int]:
        """Return what counts of the row's last step; see `Generation.kept_by_step`."""
        if len(self.commits) < 2 or (self.stopped and self.handed == len(self.tokens)):
            return drafted, accepted
        wanted = self.commits[-1].kept - 1
        return min(drafted, wanted), min(accepted, wanted)

    @property
    def decode_time(self) -> int:
        """Nanoseconds from the first to the last commit."""
        return self.commits[-1].time - self.commits[0].time if self.commits else 0


@dataclass(slots=True)
class Generation:
    """One call of `System.generate`: a batch of requests, measured once.

    `window` holds the nanoseconds per span between the first and the last commit of the batch, which is the
    stretch that TPOT covers; the key `""` holds the time outside all spans.
    """

    repeat: int
    batch: int
    order: int
    started: int
    rows: list[Row]
    steps: list[Step] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    window: dict[str, int] = field(default_factory=dict)
    _merged: dict[Phase | None, Traffic] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def window_time(self) -> int:
        """Nanoseconds from the first to the last commit of the batch."""
        return sum(self.window.values())

    @property
    def decode_tokens(self) -> int:
        """Tokens of all rows that TPOT divides by."""
        return sum(row.decode_tokens for row in self.rows)

    def traffic(self, phase: Phase | None = None) -> Traffic:
        """Return the reports of a phase (or of all) as one, its layers merged by position. Added up once: a generation
        has ended."""
        if phase not in self._merged:
            wanted = (report.traffic for report in self.reports if phase in (None, report.traffic.phase))
            self._merged[phase] = merge(wanted)
        return self._merged[phase]

    def accepted_by_row(self) -> Iterable[tuple[int, int, int]]:
        """Yield (row, drafted, accepted) for every row of every step, without the drafts that nobody wanted."""
        for step in self.kept_by_step():
            yield from step

    def kept_by_step(self) -> list[list[tuple[int, int, int]]]:
        """Return (row, drafted, accepted) of every row, step by step, the last step of a row cut to what was wanted.

        A row that ends with k tokens of a step, at its limit or at a stop token with more behind it, had use for k - 1
        drafts and the token after them: what lies behind was neither right nor wrong, and is in no output.
        """
        last = {index: number for number, step in enumerate(self.steps) for index in step.rows}
        return [
            [
                (index, *(self.rows[index].cut(drafted, accepted) if last[index] == number else (drafted, accepted)))
                for index, drafted, accepted in zip(step.rows, step.drafted, step.accepted, strict=True)
            ]
            for number, step in enumerate(self.steps)
        ]


NEEDS = ("needed", "resident", "on_time", "late", "demand", "elsewhere", "covered", "foretold")
BYTES = ("moved_bytes", "demand_bytes", "useful_bytes", "late_bytes", "wasted_bytes", "written_back_bytes")
COUNTS = ("prefetched", "cancelled", "evictions")


def merge(reports: Iterable[Traffic]) -> Traffic:
    """Add reports up; layers are added position by position."""
    total = Traffic("decode")
    for report in reports:
        for name in (*BYTES, *COUNTS, "link_busy"):
            setattr(total, name, getattr(total, name) + getattr(report, name))
        _merge_layers(total.layers, report.layers)
    return total


def _merge_layers(into: list[LayerNeeds], layers: Sequence[LayerNeeds]) -> None:
    into.extend(LayerNeeds() for _ in range(len(layers) - len(into)))
    for mine, theirs in zip(into, layers, strict=False):
        for name in NEEDS:
            setattr(mine, name, getattr(mine, name) + getattr(theirs, name))


def needs(traffic: Traffic) -> dict[str, int]:
    """Expert needs of a report summed over layers, by class."""
    return {name: sum(getattr(layer, name) for layer in traffic.layers) for name in NEEDS}


def first_divergence(tokens: Sequence[int], reference: Sequence[int]) -> int | None:
    """Return the first position where two outputs differ, in value or in length; None when they are equal."""
    for position, (ours, theirs) in enumerate(zip(tokens, reference, strict=False)):
        if ours != theirs:
            return position
    return None if len(tokens) == len(reference) else min(len(tokens), len(reference))
