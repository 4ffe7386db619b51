"""TPOT by system and hardware profile, the systems of SP-MoE's figure 10 beside it as reported there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.figures import style
from harness.figures.base import Data, Figure, cited, entry, point, rounded
from harness.figures.sources import Experiment, rows_of
from harness.papers import Reported
from harness.published import Summary
from harness.records import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

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
    whole = canvas.subplots(1, len(profiles) + 1, width_ratios=[*([3] * len(profiles)), 2])
    names = [item["system"] for item in next(iter(profiles.values()))]
    for place, (hardware, found) in enumerate(profiles.items()):
        _panel(whole[place], hardware, {item["system"]: item for item in found}, names, labelled=place == 0)
    _reported(whole[-1], data)


def _profile(rows: Sequence[Row], hardware: str) -> list[Data]:
    timed = [entry(row, tpot=point(row, "tpot", 1e3)) for row in rows if row["hardware"] == hardware]
    return sorted(timed, key=lambda item: item["tpot"]["value"] if item["tpot"] else float("inf"))


def _panel(axes: Axes, hardware: str, found: dict[str, Data], names: Sequence[str], labelled: bool) -> None:
    for height, name in enumerate(names):
        item = found.get(name)
        if item is None or item["tpot"] is None:
            text = "not measured" if item is None else item["status"]
            axes.text(0.02, height, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7)
            continue
        axes.errorbar(
            [item["tpot"]["value"]], [height], xerr=style.errors([item["tpot"]]), marker="o", markersize=5, capsize=2,
            color=style.FAMILIES[style.kind(name)], **style.hollow(item),
        )  # fmt: skip
    axes.set_xscale("log")
    style.plain_ticks(axes.xaxis)
    axes.set_title(hardware)
    axes.set_xlabel("TPOT (ms per token), log scale")
    style.names_on(axes, [style.named(found[name]) if labelled else "" for name in names])
    if labelled:
        style.key_of_kinds(axes, names, loc="upper right")


def _reported(axes: Axes, data: Data) -> None:
    machines = list(dict.fromkeys(one["machine"] for one in data["reported"]))
    names = list(dict.fromkeys(one["system"] for one in data["reported"]))
    for place, machine in enumerate(machines):
        found = [one for one in data["reported"] if one["machine"] == machine]
        look = style.REPORTED | {"marker": "Dos"[place % 3]}
        axes.plot([one["tpot"] for one in found], [names.index(one["system"]) for one in found], label=machine, **look)
    axes.set_title(f"reported, {MODEL}\n{data['citation']}")
    axes.set_xlabel("TPOT (ms per token)")
    axes.legend(loc="lower right", title="all with the same draft", title_fontsize=7, fontsize=7)
    style.names_on(axes, names)
    axes.set_ylim(len(names) + 1.2, -0.5)


FIGURE = Figure(
    name="tpot",
    title="Time per output token, by system and hardware profile",
    sources=(Experiment("bench_all"),),
    collect=collect,
    draw=draw,
    size=(11.0, 5.6),
    papers=("sp_moe",),
)
