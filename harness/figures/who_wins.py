"""Who wins where: the fastest system by budget and link, and how much faster than the second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.figures.drawing import style
from harness.figures.drawing.base import Data, Figure, rounded
from harness.figures.drawing.sources import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure as Canvas

PALE = 0.35
"""How much of a system's colour a cell has whose winner gains nothing; it has all of it from `FULL` on."""
FULL = 1.5


def collect(found: Mapping[str, Any]) -> Data:
    """Per model and machine a cell for every budget and ratio: winner, second and the gain between them."""
    return {
        "panels": [
            {"title": title, "cells": [_cell(row) for row in found["rows"] if row["panel"] == name]}
            for name, title in found["panels"].items()
        ]
    }


def draw(data: Data, canvas: Canvas) -> None:
    """A map per panel, side by side, and one key."""
    panels = data["panels"]
    every = [cell for panel in panels for cell in panel["cells"]]
    names = sorted({cell["fastest"] for cell in every if cell["fastest"]})
    for place, (axes, panel) in enumerate(zip(canvas.subplots(1, len(panels), squeeze=False)[0], panels, strict=True)):
        _map(axes, panel["cells"])
        axes.set_title(panel["title"].replace(" on ", "\non "), fontsize=9)
        axes.set_xlabel("transfer : layer")
        if place == 0:
            axes.set_ylabel("budget (% of the experts' bytes)")
    from matplotlib.patches import Patch

    handles = [Patch(color=style.look(name)[0], label=name) for name in names]
    canvas.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def _cell(row: Mapping[str, Any]) -> Data:
    systems: Sequence[Mapping[str, Any]] = row["systems"]
    first, second = ((systems[place] if place < len(systems) else None) for place in (0, 1))
    return {
        "budget": rounded(100 * row["budget"]),
        "ratio": row["ratio"],
        "fastest": first and first["system"],
        "draft_length": first and first["draft_length"],
        "tpot": first and first["tpot_ms"],
        "second": second and second["system"],
        "gain": rounded(second["tpot_ms"] / first["tpot_ms"]) if first and second else None,
        "over_bound": rounded(first["tpot_ms"] / row["bound"]["tpot_ms"]) if first and row["bound"] else None,
    }


def _map(axes: Axes, cells: Sequence[Data]) -> None:
    budgets = sorted({cell["budget"] for cell in cells})
    ratios = sorted({cell["ratio"] for cell in cells})
    for cell in cells:
        x, y = ratios.index(cell["ratio"]), budgets.index(cell["budget"])
        if cell["fastest"] is None:
            axes.text(x, y, "-", ha="center", va="center", fontsize=7)
            continue
        gain = cell["gain"] or 1.0
        strength = min(1.0, PALE + (1 - PALE) * (gain - 1) / (FULL - 1))
        axes.fill_between([x - 0.5, x + 0.5], y - 0.5, y + 0.5, color=style.look(cell["fastest"])[0], alpha=strength)
        text = f"{cell['fastest']}\n{gain:.2f}x\n{cell['tpot']:.3g} ms"
        if cell["over_bound"]:
            text += f"\nbound {cell['tpot'] / cell['over_bound']:.3g}"
        axes.text(x, y, text, ha="center", va="center", fontsize=5.5)
    axes.set_xlim(-0.5, len(ratios) - 0.5)
    axes.set_ylim(-0.5, len(budgets) - 0.5)
    axes.set_xticks(range(len(ratios)), [f"{ratio:g}" for ratio in ratios])
    axes.set_yticks(range(len(budgets)), [f"{budget:.0f}" for budget in budgets])
    axes.grid(visible=False)


FIGURE = Figure(
    name="who_wins",
    title="Who wins where: the fastest system, its gain over the second, and what knowing the future would take",
    sources=(Measured("who-wins/who-wins.json", "spmoe-bench/who-wins/1", "python -m harness who_wins"),),
    collect=collect,
    draw=draw,
    size=(12.0, 4.2),
)
