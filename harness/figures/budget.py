"""TPOT over the memory budget, SP-MoE's figure 11 beside it: where prefetching pays, and where everything fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.figures.drawing import shapes, style
from harness.figures.drawing.base import Data, Figure, cited, entry, point, rounded
from harness.figures.drawing.sources import Experiment
from harness.records.papers import Reported
from harness.records.published import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

NAMES = {"Mixtral-Offloading": "sd_offload", "MoE-Infinity": "moe_infinity", "AdapMoE": "adapmoe", "SP-MoE": "sp_moe"}
"""Whose colour a paper's system takes."""


def collect(summaries: Sequence[Summary], reported: Sequence[Reported]) -> Data:
    """TPOT in ms of every system by budget, a share of the experts' bytes in percent."""
    shares = [100 * float(summary.point) for summary in summaries]
    names = dict.fromkeys(row["system"] for summary in summaries for row in summary.rows)
    found = [one for one in reported if one.where == "Fig. 11"]
    return {
        "shares": [rounded(share) for share in shares],
        "budgets_mib": [rounded(summary.rows[0]["budget_bytes"] / 2**20) for summary in summaries],
        "hardware": summaries[0].rows[0]["hardware"],
        "systems": {name: _curve(summaries, name) for name in names},
        "reported": [
            {"system": one.system, "memory_gb": _gigabytes(one), "tpot": rounded(one.seconds * 1e3)} for one in found
        ],
        "reported_on": ", ".join(dict.fromkeys(f"{one.model}, {one.machine}" for one in found)),
        "citation": cited(found),
    }


def draw(data: Data, canvas: Canvas) -> None:
    """Ours on the left, the paper's points on the right."""
    ours, theirs = canvas.subplots(1, 2, width_ratios=[3, 2])
    for place, (name, found) in enumerate(data["systems"].items()):
        shapes.line(ours, name, shapes.beside(data["shares"], place, len(data["systems"]), 0.5), found, "tpot")
    ours.set_title(f"{data['hardware']}, reference pair\n")
    ours.set_xlabel("budget (% of the experts' bytes)")
    ours.set_ylabel("TPOT (ms per token)")
    ours.set_ylim(bottom=0)
    shown = [item for found in data["systems"].values() for item in found if item["tpot"]]
    shapes.key(ours, shown, ncols=3, loc="upper right")
    ours.set_ylim(top=1.15 * ours.get_ylim()[1])
    _reported(theirs, data)


def _curve(summaries: Sequence[Summary], name: str) -> list[Data]:
    """A system's entry per budget; `missing` where it took no part."""
    rows = [next((row for row in summary.rows if row["system"] == name), None) for summary in summaries]
    return [
        {"system": name, "status": "missing", "lossless": True, "tpot": None}
        if row is None
        else entry(row, tpot=point(row, "tpot", 1e3))
        for row in rows
    ]


def _gigabytes(one: Reported) -> float:
    return float(one.settings["memory"].removesuffix("GB"))


def _reported(axes: Axes, data: Data) -> None:
    for name in dict.fromkeys(one["system"] for one in data["reported"]):
        found = sorted((one["memory_gb"], one["tpot"]) for one in data["reported"] if one["system"] == name)
        colour = style.look(NAMES[name])[0]
        xs, ys = zip(*found, strict=True)
        shapes.reported(axes, xs, ys, name, color=colour, markeredgecolor=colour, linestyle=":")
    axes.set_title(f"reported: {data['reported_on']}\n{data['citation']}, read off the plot")
    axes.set_xlabel("GPU memory (GB)")
    axes.set_ylabel("TPOT (ms per token)")
    axes.set_ylim(bottom=0)
    axes.legend()


FIGURE = Figure(
    name="budget",
    title="Time per output token by memory budget",
    sources=(Experiment("budget"),),
    collect=collect,
    draw=draw,
    size=(10.0, 4.8),
    papers=("sp_moe",),
)
