"""Throughput and traffic over the batch: SpecMoE's figures 11 and 12 from our runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.figures import style
from harness.figures.base import Data, Figure, entry, point
from harness.figures.sources import Experiment
from harness.published import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

PANELS = {
    "throughput": ("tokens per second of the batch", 1.0),
    "bytes_per_token": ("MiB over the link per token", 2**-20),
    "acceptance_rate": ("acceptance rate", 1.0),
    "target_efficiency": ("target efficiency", 1.0),
}


def collect(summaries: Sequence[Summary]) -> Data:
    """Every panel's metric by system, over batches."""
    rows = {(row["system"], row["batch"]): row for summary in summaries for row in summary.rows}
    batches = sorted({batch for _, batch in rows})
    systems = list(dict.fromkeys(system for system, _ in rows))
    curves = {
        system: [
            entry(row, **{name: point(row, name, scale) for name, (_, scale) in PANELS.items()})
            for batch in batches
            if (row := rows.get((system, batch))) is not None
        ]
        for system in systems
        if all((system, batch) in rows for batch in batches)
    }
    return {"batches": batches, "curves": curves}


def draw(data: Data, canvas: Canvas) -> None:
    """A panel per metric; systems without it are left out."""
    for axes, (name, (label, _)) in zip(canvas.subplots(2, 2).flat, PANELS.items(), strict=True):
        for system, found in data["curves"].items():
            style.line(axes, system, data["batches"], found, name)
        axes.set_xscale("log", base=2)
        axes.set_xticks(data["batches"], [str(batch) for batch in data["batches"]])
        axes.set_xlabel("batch")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
    handles, labels = canvas.axes[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=5)


FIGURE = Figure(
    name="batch",
    title="Over the batch: throughput, traffic and speculation",
    sources=(Experiment("bench_batch"),),
    collect=collect,
    draw=draw,
    size=(9.5, 7.0),
)
