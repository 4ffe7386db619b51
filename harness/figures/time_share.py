"""Shares of the time: computing and waiting for experts, after MoE-SpeQ's figure 4 (offloading waits most of it)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.figures.drawing import scales, shapes, style
from harness.figures.drawing.base import Data, Figure, cited, entry, point, rounded
from harness.figures.drawing.sources import Experiment, rows_of
from harness.records.papers import Reported
from harness.records.published import Summary
from harness.records.summary_file import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

SYSTEMS = ("accelerate_offload", "no_cache", "offload", "moe_infinity", "adapmoe", "sd_offload", "sp_moe", "moe_speq")


def collect(summaries: Sequence[Summary], reported: Sequence[Reported]) -> Data:
    """Percent of decoding that waits for experts."""
    rows = [row for row in rows_of(summaries) if row["system"] in SYSTEMS]
    found = [one for one in reported if one.metric == "memory_time_share"]
    return {
        "profiles": {
            name: [_entry(row) for row in sorted(rows, key=_place) if row["hardware"] == name]
            for name in dict.fromkeys(row["hardware"] for row in rows)
        },
        "reported": [
            {"system": one.system, "model": one.model, "machine": one.machine, "stall": rounded(one.value)}
            for one in found
        ],
        "citation": cited(found),
    }


def draw(data: Data, canvas: Canvas) -> None:
    """A panel per profile, the reported share as the top row of each."""
    panels = canvas.subplots(1, len(data["profiles"]), squeeze=False)[0]
    for axes, (hardware, found) in zip(panels, data["profiles"].items(), strict=True):
        names = _panel(axes, hardware, found, data["reported"])
        scales.names_on(axes, names if axes is panels[0] else [""] * len(names))
    scales.cite(panels[-1], f"hatched: reported, {data['citation']}")
    _key(canvas)


def _place(row: Row) -> int:
    return SYSTEMS.index(row["system"])


def _entry(row: Row) -> Data:
    return entry(row, stall=point(row, "stall_share", 1e2))


def _panel(axes: Axes, hardware: str, found: Sequence[Data], reported: Sequence[Data]) -> list[str]:
    """Draw a profile below the reported rows; return the names of the rows."""
    names = [f"{one['system']}, {one['model']}\n(reported)" for one in reported]
    waits: list[dict[str, Any]] = [{"value": one["stall"], "low": None, "high": None} for one in reported]
    for item in found:
        if item["stall"] is not None:
            names.append(style.named(item))
            waits.append(item["stall"])
    values, first = [wait["value"] for wait in waits], len(reported)
    axes.barh(range(len(names)), values, color=style.PARTS["transfer"])
    axes.barh(range(len(names)), [100 - value for value in values], left=values, color=style.PARTS["verify"])
    for bar in [*axes.containers[0][:first], *axes.containers[1][:first]]:
        bar.set_hatch("///")
        bar.set_edgecolor("white")
    axes.errorbar(
        values[first:], range(first, len(names)), xerr=shapes.errors(waits[first:]), color=style.BLACK,
        linestyle="none", **shapes.INTERVAL,
    )  # fmt: skip
    axes.set_xlim(0, 100)
    axes.set_title(hardware)
    axes.set_xlabel("share of the decoding time (%)")
    return names


def _key(canvas: Canvas) -> None:
    from matplotlib.patches import Patch

    parts = {"waiting for experts": "transfer", "computing": "verify"}
    marks = [Patch(facecolor=style.PARTS[part], label=name) for name, part in parts.items()]
    canvas.legend(handles=marks, loc="outside lower center", ncols=len(marks))


FIGURE = Figure(
    name="time_share",
    title="Offloading waits: shares of the decoding time",
    sources=(Experiment("bench_all"),),
    collect=collect,
    draw=draw,
    size=(9.5, 4.6),
    papers=("moe_speq",),
)
