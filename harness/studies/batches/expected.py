"""SpecMoE's model of its speedup (arXiv 2604.10152, equation 2) beside the measurement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.studies.batches.grid import Grid
from harness.tables.columns import Section


@dataclass(frozen=True)
class Expected:
    """The terms of the model at one batch, and what was measured.

    Attributes:
        length: tokens per request and cycle.
        cost: time of one drafted token / time of one step of plain decoding.
        growth: the model's lambda, from volumes: bytes of a verification / bytes of a step of plain decoding.
        measured: throughput / that of plain decoding.
    """

    batch: int
    length: float
    draft_length: int
    cost: float
    growth: float
    measured: float

    @property
    def speedup(self) -> float:
        """`length / (draft_length cost + growth)`: transfers decide the time of the target's forwards."""
        return self.length / (self.draft_length * self.cost + self.growth)


def expected(grid: Grid, system: str, plain: str) -> Iterator[Expected]:
    """Yield the model's terms of a speculative system over plain decoding, at every batch where all are known."""
    for batch in grid.batches:
        names = ("acceptance_length", "draft_time", "bytes_per_step", "throughput")
        length, draft, moved, speed = (grid.value(system, batch, name) for name in names)
        step, bytes_, base = (grid.value(plain, batch, name) for name in ("step_time", "bytes_per_step", "throughput"))
        if not (length and draft and moved and speed and step and bytes_ and base):
            continue
        drafted: int = grid.cells[system, batch]["description"]["draft_length"]
        yield Expected(batch, length, drafted, draft / drafted / step, moved / bytes_, speed / base)


def sections(grid: Grid, plain: str) -> list[Section]:
    """Return the model of the speedup beside the measurement, for every system that drafts with itself."""
    headings = ("batch", "tokens/cycle", "draft cost", "lambda (bytes)", "predicted", "measured")
    found = []
    for system in grid.speculative():
        if grid.cells[system, grid.batches[0]]["description"].get("draft_bytes"):
            continue
        lines: list[tuple[str, ...]] = [
            (
                str(e.batch),
                f"{e.length:.2f}",
                f"{e.cost:.3f}",
                f"{e.growth:.2f}",
                f"{e.speedup:.2f}",
                f"{e.measured:.2f}",
            )
            for e in expected(grid, system, plain)
        ]
        if lines:
            title = f"Speedup of {system} over {plain}: lambda model and measurement"
            found.append(Section(title, headings, ("throughput",), lines, len(lines)))
    return found
