"""Hit rate by slots as in MoE-SpeQ's table 3: least recently used, more of it, one-phase prefetches, all three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.figures.drawing import shapes, style
from harness.figures.drawing.base import Data, Figure, cited, entry, point, rounded
from harness.figures.drawing.sources import Experiment
from harness.records.papers import Reported
from harness.records.published import Summary

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure as Canvas

THEIRS = {
    "lru": "LRU",
    "lru_scaled": "LRU scaled",
    "prefetch_sooner": "single prefetch sooner",
    "prefetch_later": "single prefetch later",
    "speculative": "MoE-SpeQ",
}
COLOURS = (style.GREY, style.BLUE, style.SKY, style.GREEN, style.PURPLE)


def collect(summaries: Sequence[Summary], reported: Sequence[Reported]) -> Data:
    """Hit rates in percent, a group per budget; the table's memories are matched in order."""
    table = [one for one in reported if one.where == "Table 3"]
    memories = list(dict.fromkeys(one.settings["memory"] for one in table))
    return {
        "budgets": [summary.point for summary in summaries],
        "hardware": summaries[0].rows[0]["hardware"],
        "rows": {
            name: [
                entry(row, slots=row["description"].get("slots"), hit_rate=point(row, "hit_rate", 1e2))
                for summary in summaries
                for row in summary.rows
                if row["system"] == name
            ]
            for name in THEIRS
        },
        "memories": memories,
        "reported": {
            name: [rounded(one.value) for memory in memories for one in table if _is(one, theirs, memory)]
            for name, theirs in THEIRS.items()
        },
        "citation": cited(table),
    }


def draw(data: Data, canvas: Canvas) -> None:
    """Ours on the left, the paper's table on the right."""
    ours, theirs = canvas.subplots(1, 2, sharey=True)
    for place, (name, found) in enumerate(data["rows"].items()):
        look: dict[str, Any] = {"count": len(THEIRS), "label": THEIRS[name], "color": COLOURS[place]}
        known = {group: item["hit_rate"] for group, item in enumerate(found) if item["hit_rate"]}
        shapes.bars(ours, place, points=known, **look)
        published = dict(enumerate(map(shapes.bare, data["reported"][name])))
        shapes.bars(theirs, place, points=published, hatch="///", **look)
    sizes = [f"{int(budget.removesuffix('KiB')) / 1024:.1f} MiB" for budget in data["budgets"]]
    ours.set_xticks(range(len(sizes)), sizes)
    ours.set_title(f"{data['hardware']}, reference pair")
    ours.set_xlabel("budget, the INT4 copy included")
    ours.set_ylabel("hit rate (%)")
    theirs.set_xticks(range(len(data["memories"])), [memory.replace("GB", " GB") for memory in data["memories"]])
    theirs.set_title(f"reported (hatched): DeepSeek-V2-Lite, {data['citation']}")
    theirs.set_xlabel("GPU memory")
    for axes in (ours, theirs):
        axes.set_ylim(0, 102)
        axes.grid(visible=False, axis="x")
    canvas.legend(*ours.get_legend_handles_labels(), loc="outside lower center", ncols=len(THEIRS))


def _is(one: Reported, system: str, memory: str) -> bool:
    return one.system == system and one.settings["memory"] == memory


FIGURE = Figure(
    name="slots",
    title="MoE-SpeQ: hit rate by memory and prefetching",
    sources=(Experiment("hit_rate"),),
    collect=collect,
    draw=draw,
    size=(10.0, 4.4),
    papers=("moe_speq",),
)
