"""TPOT by system and hardware profile, the systems of SP-MoE's figure 10 beside it as reported there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.figures.drawing import scales, shapes, style
from harness.figures.drawing.base import Data, Figure, cited, entry, point, rounded
from harness.figures.drawing.sources import Experiment, rows_of
from harness.records.papers import Reported
from harness.records.published import Summary
from harness.records.summary_file import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

MODEL = "Mixtral-8x7B"


def collect(summaries: Sequence[Summary], reported: Sequence[Reported]) -> Data:
    """TPOT in ms; systems in the order of the first profile, the fastest first."""
    rows = rows_of(summaries)
    profiles = {name: _profile(rows, name) for name in dict.fromkeys(row["hardware"] for row in rows)}
    bars = [one for one in reported if one.where == "Fig. 10" and one.model == MODEL]
    return {
        "profiles": profiles,
        "reported": [
            {"system": one.system, "machine": one.machine, "tpot": rounded(one.seconds * 1e3)} for one in bars
        ],
        "citation": cited(bars),
    }


def draw(data: Data, canvas: Canvas) -> None:
    """A panel per profile over the same systems, and one of published numbers."""
    profiles = data["profiles"]
    panels = canvas.subplots(1, len(profiles) + 1, width_ratios=[*([3] * len(profiles)), 2.3])
    first = next(iter(profiles.values()))
    names = [item["system"] for item in first]
    for axes, (hardware, found) in zip(panels, profiles.items(), strict=False):
        shapes.dots(axes, names, {item["system"]: item for item in found}, "tpot")
        axes.set_xscale("log")
        scales.plain_ticks(axes.xaxis)
        axes.set_title(hardware)
        axes.set_xlabel("TPOT (ms per token), log scale")
        scales.names_on(axes, [style.titled(item) if axes is panels[0] else "" for item in first])
    shapes.key_of_kinds(panels[0], map(style.kind_of, first), loc="upper right")
    _reported(panels[-1], data)


def _profile(rows: Sequence[Row], hardware: str) -> list[Data]:
    timed = [entry(row, tpot=point(row, "tpot", 1e3)) for row in rows if row["hardware"] == hardware]
    return sorted(timed, key=lambda item: item["tpot"]["value"] if item["tpot"] else float("inf"))


def _reported(axes: Axes, data: Data) -> None:
    machines = list(dict.fromkeys(one["machine"] for one in data["reported"]))
    times: dict[str, list[float]] = {}
    for one in data["reported"]:
        times.setdefault(one["system"], []).append(one["tpot"])
    names = sorted(times, key=lambda name: sum(times[name]))
    for place, machine in enumerate(machines):
        found = [one for one in data["reported"] if one["machine"] == machine]
        heights = [names.index(one["system"]) for one in found]
        shapes.reported(axes, [one["tpot"] for one in found], heights, machine, place)
    axes.set_title(f"reported: {MODEL},\nthe same draft for all\n({data['citation']})")
    axes.set_xlabel("TPOT (ms per token)")
    axes.legend(loc="lower left")
    scales.names_on(axes, names)
    axes.set_xlim(0, 1.1 * max(max(found) for found in times.values()))
    axes.set_ylim(len(names) + 1.2, -0.5)


FIGURE = Figure(
    name="tpot",
    title="Time per output token, by system and hardware profile",
    sources=(Experiment("bench_all"),),
    collect=collect,
    draw=draw,
    size=(10.0, 7.6),
    papers=("sp_moe",),
)
