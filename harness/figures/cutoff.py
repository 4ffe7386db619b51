"""TPOT over the cutoff layer, the one that the warm-up chooses marked, and what it had foretold of the others (SP-MoE,
section 3.2: a U-shaped curve)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.figures.drawing import shapes, style
from harness.figures.drawing.base import Data, Figure, entry, point, rounded
from harness.figures.drawing.sources import Experiment, rows_of
from harness.records.published import Summary, metric
from harness.records.summary_file import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

AUTO = "sp_moe@auto"
WITHOUT = "sd_offload"
PARTS = {"draft": "o", "verify": "s", "transfer": "D"}
"""The parts that a cutoff moves, with their marks."""


def collect(summaries: Sequence[Summary]) -> Data:
    """TPOT and its parts in ms, and speedup, by number of leading layers that are prefetched, per hardware profile."""
    profiles: dict[str, dict[str, Row]] = {}
    for row in rows_of(summaries):
        profiles.setdefault(row["hardware"], {})[row["system"]] = row
    return {"profiles": {hardware: _profile(rows) for hardware, rows in profiles.items()}}


def _profile(rows: Mapping[str, Row]) -> Data:
    swept = [row for name, row in rows.items() if name.startswith("sp_moe@") and name != AUTO]
    predicted = _predicted(rows[AUTO]) if AUTO in rows else []
    return {
        "cutoffs": [_entry(row) for row in sorted(swept, key=lambda row: row["description"].get("cutoff", 0))],
        "chosen": _entry(rows[AUTO]) if AUTO in rows else None,
        "without": _entry(rows[WITHOUT]) if WITHOUT in rows else None,
        **({"predicted": predicted} if predicted else {}),
    }


def draw(data: Data, canvas: Canvas) -> None:
    """Per profile TPOT, what it is made of, and the gain prompt by prompt, which is known better than TPOT."""
    profiles = data["profiles"]
    grid = canvas.subplots(len(profiles), 3, squeeze=False)
    for (hardware, found), (whole, parts, gain) in zip(profiles.items(), grid, strict=True):
        _times(whole, found)
        whole.set_title(f"{hardware}: all of it")
        _parts(parts, found)
        shapes.line(gain, "sp_moe", [item["cutoff"] for item in found["cutoffs"]], found["cutoffs"], "speedup")
        gain.axhline(1, color=style.look(WITHOUT)[0])
        gain.set_title("speedup over sd_offload")
        gain.set_ylabel("ratio of TPOT, paired over prompts")
    for axes in grid[-1]:
        axes.set_xlabel("cutoff: leading layers prefetched")


def _entry(row: Row) -> Data:
    return entry(
        row, cutoff=row["description"].get("cutoff"), tpot=point(row, "tpot", 1e3),
        speedup=point(row, f"speedup_over_{WITHOUT}"),
        **{name: point(row, f"breakdown_{name}", 1e3) for name in style.PARTS},
    )  # fmt: skip


def _predicted(chosen: Row) -> list[Data]:
    """TPOT (ms) by cutoff as the warm-up foretold it: its steps' times, at the tokens per step that were measured."""
    length = metric(chosen, "acceptance_length")
    steps: dict[str, float] = chosen["description"].get("cutoff_step_ms", {})
    if length is None or not length["value"]:
        return []
    return [{"cutoff": int(depth), "tpot": rounded(time / length["value"])} for depth, time in steps.items()]


def _times(axes: Axes, data: Data) -> None:
    found = data["cutoffs"]
    shapes.line(axes, "sp_moe", [item["cutoff"] for item in found], found, "tpot")
    if foretold := data.get("predicted"):
        axes.plot(
            [item["cutoff"] for item in foretold], [item["tpot"] for item in foretold], color=style.BLACK,
            linestyle="--", marker="s", markersize=3, linewidth=1, label="foretold by replaying the warm-up",
        )  # fmt: skip
    if (chosen := data["chosen"]) is not None and chosen["tpot"] is not None:
        axes.axvline(chosen["cutoff"], color=style.BLACK, linestyle=":", linewidth=1)
        axes.plot(
            [chosen["cutoff"]], [chosen["tpot"]["value"]], marker="*", markersize=14, color=style.YELLOW,
            markeredgecolor=style.BLACK, linestyle="none", zorder=5,
            label=f"chosen from the warm-up: {chosen['cutoff']}",
        )  # fmt: skip
    if (without := data["without"]) is not None and without["tpot"] is not None:
        axes.axhline(
            without["tpot"]["value"], color=style.look(WITHOUT)[0], label="sd_offload: no prefetch, its interval"
        )
        axes.axhspan(without["tpot"]["low"], without["tpot"]["high"], color=style.look(WITHOUT)[0], alpha=0.12)
    axes.set_ylabel("TPOT (ms per token)")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.35 * (high - low))
    shapes.key(axes, found, loc="upper left")


def _parts(axes: Axes, data: Data) -> None:
    at = [item["cutoff"] for item in data["cutoffs"]]
    for place, (name, mark) in enumerate(PARTS.items()):
        found = [item[name] for item in data["cutoffs"]]
        if all(found):
            axes.errorbar(
                shapes.beside(at, place, len(PARTS), 0.12), [item["value"] for item in found],
                yerr=shapes.errors(found), color=style.PARTS[name], marker=mark, markersize=4,
                label=style.PART_NAMES[name], **shapes.INTERVAL,
            )  # fmt: skip
    axes.set_title("what it is made of")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
    axes.set_ylabel("part of TPOT (ms per token)")
    axes.legend(loc="upper left")


FIGURE = Figure(
    name="cutoff",
    title="SP-MoE: time per output token over the cutoff layer",
    sources=(Experiment("cutoff"),),
    collect=collect,
    draw=draw,
    size=(10.0, 7.6),
)
