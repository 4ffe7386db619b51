"""What a metric is made of: a definition that travels with its number, and the data it is computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from harness.metrics.intervals import Scale, pooled_interval
from harness.records.generation import Generation

Better = Literal["lower", "higher", "neither"]
DIGITS = 6
"""Of a number in `summary.json` that is not whole: what is beyond them is noise."""
LARGEST_WHOLE = 2**53
"""From here on a float is whole because it has no digits left, and tables have no integer for it."""


@dataclass(frozen=True, slots=True)
class Value:
    """A number that knows its definition, or `None` with the `reason` why it is unknown; never 0 for unknown.

    `low` and `high` bound the 95 % interval where there is one; `n` counts the prompts (or events) behind it.
    `over` names the other system of a ratio where the definition leaves open which it is.
    """

    value: float | None
    unit: str
    definition: str
    better: Better
    n: int
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    over: str | None = None

    def row(self) -> dict[str, float | int | str | None]:
        """Return the entry of `summary.json`."""
        entry: dict[str, float | int | str | None] = {
            "value": _kept(self.value), "unit": self.unit, "low": _kept(self.low), "high": _kept(self.high),
            "n": self.n, "definition": self.definition,
        }  # fmt: skip
        notes = {"reason": self.reason, "over": self.over}
        return entry | {name: note for name, note in notes.items() if note is not None}


def _kept(number: float | None) -> float | int | None:
    """The digits of a number that mean something; the records beside a summary have all of them."""
    if number is None:
        return None
    kept = float(number if float(number).is_integer() else f"{number:.{DIGITS}g}")
    return int(kept) if kept.is_integer() and abs(kept) < LARGEST_WHOLE else kept


@dataclass(frozen=True, slots=True)
class Shown:
    """How tables print a metric: a heading, and `digits` behind the point of the value times `scale`.

    Attributes:
        place: from left to right in the table of experts and drafts.
        brief: whether the one wide table of several profiles has it, too, and under which heading.
    """

    heading: str
    digits: int
    scale: float = 1.0
    interval: bool = False
    place: int = 99
    brief: str | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """A pinned definition. `id` ends in a version that changes when the formula does; the unit of a share is `-`.

    Attributes:
        parts: numerator and denominator of one generation, where the metric is their pooled ratio: the one formula, for
            what is measured and for what is read back from disk.
        shown: where it stands in tables by itself; None for what a table has a place of its own for, or none.
        gated: whether two result sets are compared by it, and whether it is a time, which has noise.
    """

    id: str
    unit: str
    better: Better
    text: str
    parts: Parts | None = None
    shown: Shown | None = None
    gated: Literal["timed", "counted"] | None = None

    @property
    def name(self) -> str:
        """The id without its version: what rows have it under, or what their names for it begin with."""
        return self.id.partition("@")[0]

    def known(
        self, value: float, n: int, low: float | None = None, high: float | None = None, over: str | None = None
    ) -> Value:
        """Return a value under this definition."""
        return Value(value, self.unit, self.id, self.better, n, low, high, over=over)

    def unknown(self, reason: str) -> Value:
        """Return an unknown with its reason."""
        return Value(None, self.unit, self.id, self.better, 0, reason=reason)

    def of(self, cell: Cell, unknown: str) -> Value:
        """Pool its own `parts` over a cell; see `ratio`."""
        assert self.parts is not None, f"{self.id} is no ratio of parts"
        return self.ratio(cell, self.parts, unknown)

    def ratio(self, cell: Cell, parts: Parts, unknown: str) -> Value:
        """Pool `sum of numerators / sum of denominators` over a cell, with its interval over prompts.

        Args:
            parts: numerator and denominator of one generation.
            unknown: the reason to give when all denominators are 0.
        """
        pairs = list(cell.sums(parts).values())
        if sum(denominator for _, denominator in pairs) == 0:
            return self.unknown(unknown)
        scale: Scale = "share" if self.unit == "-" else "amount"
        value, low, high = pooled_interval(pairs, scale)
        return self.known(value, cell.num_prompts, low, high)


Parts = Callable[[Generation], tuple[float, float]]


@dataclass(frozen=True)
class Cell:
    """All that was measured of one system: the only input of metrics.

    `reference` maps request ids to the tokens of plain greedy decoding, or is None with `no_reference` saying
    why. `layer_times` are seconds per target layer by positions per forward, all experts resident. `device_bytes` is
    the most that the system held on a device, as its allocator says; None where there is none.
    """

    generations: Sequence[Generation]
    reference: Mapping[str, Sequence[int]] | None = None
    no_reference: str = "no reference was run"
    fast_bytes: int = 0
    peak_rss: int = 0
    layer_times: Mapping[int, float] = field(default_factory=dict)
    device_bytes: int | None = None

    @cached_property
    def num_prompts(self) -> int:
        """Distinct requests."""
        return len({row.id for generation in self.generations for row in generation.rows})

    def sums(self, parts: Parts) -> dict[int, tuple[float, float]]:
        """Sum numerators and denominators per batch of prompts over repeats, in the order of the batches.

        The batch is what an interval counts as one: its prompts ran together, and repeats of it are not new prompts.
        """
        sums: dict[int, tuple[float, float]] = {}
        for generation in self.generations:
            up, down = parts(generation)
            before = sums.get(generation.batch, (0.0, 0.0))
            sums[generation.batch] = (before[0] + up, before[1] + down)
        return dict(sorted(sums.items()))
