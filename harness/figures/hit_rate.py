"""Expert hit rate by system and profile, SP-MoE's reported ones beside it."""

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

OUT = (
    "resident",
    "sd_resident",
    "transformers",
    "transformers_assisted",
    "llama_cpp",
    "llama_cpp_draft",
    "openvino_genai",
)
OURS = {"Mixtral-Offloading": "sd_offload", "AdapMoE": "sd_adapmoe", "SP-MoE": "sp_moe"}
"""The paper's systems all speculate with the same draft."""


def collect(summaries: Sequence[Summary], reported: Sequence[Reported]) -> Data:
    """Hit rates in percent; the order is that of the first profile."""
    rows = [row for row in rows_of(summaries) if row["system"] not in OUT]
    found = [one for one in reported if one.metric == "hit_rate"]
    return {
        "profiles": {name: _profile(rows, name) for name in dict.fromkeys(row["hardware"] for row in rows)},
        "reported": [
            {"system": one.system, "ours": OURS[one.system], "model": one.model, "hit_rate": rounded(one.value)}
            for one in found
        ],
        "citation": cited(found),
    }


def draw(data: Data, canvas: Canvas) -> None:
    """A panel per profile over the same systems."""
    profiles = data["profiles"]
    panels = canvas.subplots(1, len(profiles), squeeze=False)[0]
    first = next(iter(profiles.values()))
    names = [item["system"] for item in first]
    for axes, (hardware, found) in zip(panels, profiles.items(), strict=True):
        shapes.dots(axes, names, {item["system"]: item for item in found}, "hit_rate")
        axes.set_xlim(-2, 102)
        axes.set_title(hardware)
        axes.set_xlabel("hit rate (% of experts computed that were there)")
        _reported(axes, data, names)
        scales.names_on(axes, [style.titled(item) if axes is panels[0] else "" for item in first])
    panels[-1].legend(loc="lower right")
    shapes.key_of_kinds(panels[0], map(style.kind_of, first), loc="lower right")


def _profile(rows: Sequence[Row], hardware: str) -> list[Data]:
    found = [entry(row, hit_rate=point(row, "hit_rate", 1e2)) for row in rows if row["hardware"] == hardware]
    known = [item for item in found if item["hit_rate"]]
    return sorted(known, key=lambda item: -float(item["hit_rate"]["value"]))


def _reported(axes: Axes, data: Data, names: Sequence[str]) -> None:
    found = [one for one in data["reported"] if one["ours"] in names]
    models = ", ".join(dict.fromkeys(one["model"] for one in found))
    heights = [names.index(one["ours"]) for one in found]
    label = f"reported for the like on {models}\n({data['citation']})"
    shapes.reported(axes, [one["hit_rate"] for one in found], heights, label)


FIGURE = Figure(
    name="hit_rate",
    title="Expert hit rate while decoding",
    sources=(Experiment("bench_all"),),
    collect=collect,
    draw=draw,
    size=(9.5, 5.2),
    papers=("sp_moe",),
)
