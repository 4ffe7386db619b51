"""Throughput and traffic over the batch: SpecMoE's figures 11 and 12 from our runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.figures.drawing import scales, shapes
from harness.figures.drawing.base import Data, Figure, entry, point
from harness.figures.drawing.sources import Experiment
from harness.records.published import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

PANELS = {
    "throughput": ("throughput (tokens per second)", 1.0),
    "bytes_per_token": ("expert traffic (MiB per token)", 2**-20),
    "acceptance_rate": ("acceptance rate", 1.0),
    "target_efficiency": ("target efficiency", 1.0),
}
LOGARITHMIC = ("throughput", "bytes_per_token")
NOTES = {"target_efficiency": "of the target alone: the same for drafts of one length"}


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
    """A panel per metric; systems without it are left out, on a logarithmic axis those at zero, too."""
    panels = canvas.subplots(2, 2)
    for axes, (name, (label, _)) in zip(panels.flat, PANELS.items(), strict=True):
        absent = []
        for system, found in data["curves"].items():
            if name in LOGARITHMIC and any(item[name] and not item[name]["value"] for item in found):
                absent.append(system)
            else:
                shapes.line(axes, system, data["batches"], found, name)
        _scale(axes, name, data["batches"])
        axes.set_ylabel(label)
        axes.set_title(f"none for {', '.join(absent)}" if absent else NOTES.get(name, ""))
    handles, labels = panels[0, 0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=5)


def _scale(axes: Axes, name: str, batches: Sequence[int]) -> None:
    scales.over_batches(axes, batches)
    if name in LOGARITHMIC:
        axes.set_yscale("log")
        scales.plain_ticks(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)


FIGURE = Figure(
    name="batch",
    title="Over the batch: throughput, traffic and speculation",
    sources=(Experiment("bench_batch"),),
    collect=collect,
    draw=draw,
    size=(9.5, 7.2),
)
