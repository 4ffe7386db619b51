"""The picture of a plan: TPOT of every system, and of every draft length that was tried."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.figures.drawing import scales, shapes, style
from harness.figures.drawing.picture import SETTINGS, write_png
from harness.predict.forecast import Choice

NEAR = 0.025
"""Dots closer than this share of their time have one label."""
ROOM = 1.12
"""The axis goes on behind the slowest: there its time is written."""


def draw(choices: Sequence[Choice], title: str, path: Path) -> None:
    """Draw a row per system, the fastest on top, a dot per draft length with the length beside it."""
    import matplotlib
    from matplotlib.figure import Figure

    fitting = [choice for choice in choices if choice.forecast.tpot is not None]
    kinds = {choice.system: style.kind(choice.system, choice.draft_length > 0) for choice in fitting}
    with matplotlib.rc_context(SETTINGS):
        canvas = Figure(figsize=(8, 0.42 * len(kinds) + 1.3), layout="constrained")
        axes = canvas.subplots()
        for place, (name, kind) in enumerate(kinds.items()):
            found = [choice for choice in fitting if choice.system == name]
            times = [1e3 * (choice.forecast.tpot or 0.0) for choice in found]
            colour = style.FAMILIES[kind]
            axes.plot([min(times), max(times)], [place, place], color=colour, linewidth=1.2)
            axes.plot(times[1:], [place] * (len(times) - 1), "o", color=colour, markerfacecolor="white", markersize=6)
            axes.plot(times[:1], [place], "o", color=colour, markersize=7)
            for time, text in _labels(found):
                axes.annotate(
                    text, (time, place), (0, 6), textcoords="offset points", ha="center", fontsize=7,
                )  # fmt: skip
            axes.annotate(
                f"{times[0]:.0f} ms", (max(times), place), (9, 0), textcoords="offset points", va="center", fontsize=8
            )
        scales.names_on(axes, list(kinds))
        axes.set_xlim(0, ROOM * axes.dataLim.x1)
        axes.set_xlabel("predicted TPOT (ms per token); numbers above dots are draft lengths, the best is filled")
        axes.set_title(title)
        shapes.key_of_kinds(axes, kinds.values(), loc="lower left")
        write_png(canvas, path)


def _labels(found: Sequence[Choice]) -> list[tuple[float, str]]:
    """Draft lengths of a system, shortest time first, and where they are written: those of near dots together."""
    groups: list[tuple[float, list[str]]] = []
    for choice in found:
        time = 1e3 * (choice.forecast.tpot or 0.0)
        if groups and time - groups[-1][0] < NEAR * time:
            groups[-1][1].append(choice.drafts)
        elif choice.draft_length:
            groups.append((time, [choice.drafts]))
    return [(time, ", ".join(texts)) for time, texts in groups]
