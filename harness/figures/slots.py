"""Hit rate by slots as in MoE-SpeQ's table 3: least recently used, more of it, one-phase prefetches, all three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.figures import style
from harness.figures.base import Data, Figure, cited, entry, point, rounded
from harness.figures.sources import Experiment
from harness.papers import Reported
from harness.published import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

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
        known = [(group, item) for group, item in enumerate(found) if item["hit_rate"]]
        _bars(
            ours, place, [group for group, _ in known], [item["hit_rate"]["value"] for _, item in known], THEIRS[name]
        )
        ours.errorbar(
            [group + _shift(place) for group, _ in known], [item["hit_rate"]["value"] for _, item in known],
            yerr=style.errors([item["hit_rate"] for _, item in known]), color=style.BLACK, linestyle="none",
            elinewidth=0.8, capsize=2,
        )  # fmt: skip
        _bars(theirs, place, range(len(data["memories"])), data["reported"][name], THEIRS[name], hatch="///")
    sizes = [f"{int(budget.removesuffix('KiB')) / 1024:.1f} MiB" for budget in data["budgets"]]
    ours.set_xticks(range(len(sizes)), sizes)
    ours.set_title(f"{data['hardware']}, reference pair")
    ours.set_xlabel("budget, the INT4 copy included")
    ours.set_ylabel("hit rate (%)")
    theirs.set_xticks(range(len(data["memories"])), data["memories"])
    theirs.set_title(f"reported, DeepSeek-V2-Lite ({data['citation']})")
    theirs.set_xlabel("GPU memory")
    for axes in (ours, theirs):
        axes.set_ylim(0, 100)
        axes.grid(visible=False, axis="x")
    handles, names = ours.get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside lower right", ncols=3)


def _is(one: Reported, system: str, memory: str) -> bool:
    return one.system == system and one.settings["memory"] == memory


def _shift(place: int) -> float:
    return 0.16 * (place - (len(THEIRS) - 1) / 2)


def _bars(
    axes: Axes, place: int, groups: Sequence[int], values: Sequence[float], label: str, hatch: str | None = None
) -> None:
    axes.bar(
        [group + _shift(place) for group in groups], values, width=0.15, color=COLOURS[place], label=label, hatch=hatch,
        edgecolor="white",
    )  # fmt: skip


FIGURE = Figure(
    name="slots",
    title="MoE-SpeQ: hit rate by memory and prefetching",
    sources=(Experiment("hit_rate"),),
    collect=collect,
    draw=draw,
    size=(11.0, 4.4),
    papers=("moe_speq",),
)
