"""From numbers to an SVG: the same bytes for the same numbers and the same matplotlib."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.figures.drawing.base import Data, Figure
from harness.figures.drawing.style import VERMILLION

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas
    from matplotlib.figure import SubFigure

SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "spmoe-bench",
}
FONT = "font-family: 'DejaVu Sans', 'Verdana', sans-serif; "
"""As matplotlib writes it beside every text; Verdana is as wide where there is no DejaVu."""
HEAD, LINE = 0.32, 0.14
"""Inches that the title takes, and a line of the footer."""
MARKS = {
    "emulated": "EMULATED LINK: transfers are paced to the ratio of the named machine, not its speed",
    "replayed": "REPLAYED: times are predictions",
}


def render(figure: Figure, record: Data) -> str:
    """Return the picture as SVG, its origin in its metadata and, in short, below it."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context(SETTINGS):
        compose(figure, record).savefig(stream, format="svg", metadata=_metadata(record))
    return _numbered(_slim("\n".join(line.strip() for line in stream.getvalue().splitlines()) + "\n"))


def write_png(canvas: Canvas, path: Path) -> None:
    """Write a canvas at 120 dots per inch with 64 colours: it looks the same at a third of the bytes.

    Raises:
        OSError: the disk is full or the folder read-only.
    """
    from PIL import Image

    stream = io.BytesIO()
    canvas.savefig(stream, dpi=120)
    few = Image.open(stream).convert("RGB").quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def _slim(drawn: str) -> str:
    """Leave out names that nothing refers to, turns by nothing and digits below a hundredth; say the font once."""
    bare = re.sub(rf'(?<=<g) id="[^"]*"| transform="rotate\(-0 [^)]*\)"|{FONT}', "", drawn)
    short = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), bare)
    return short.replace("*{", f"*{{{FONT}", 1)


def _numbered(drawn: str) -> str:
    """Count the panels, which matplotlib names by hashes of where they lie: the layout's last bits vary."""
    names: dict[str, str] = {}
    return re.sub(r"\bp[0-9a-f]{10}\b", lambda found: names.setdefault(found[0], f"panel-{len(names)}"), drawn)


def compose(figure: Figure, record: Data) -> Canvas:
    """Draw title, panels and footer in strips of their own: legends beside panels would cover the other two."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(SETTINGS):
        canvas, footer = Canvas(figsize=figure.size, layout="constrained"), _footer(record)
        below = LINE * len(footer.splitlines())
        heights = [HEAD, figure.size[1] - HEAD - below, below]
        strips: Any = canvas.subfigures(3, 1, height_ratios=heights, hspace=0)
        _head(strips[0], record)
        figure.draw(record["data"], strips[1])
        strips[2].text(0.01, 0.9, footer, ha="left", va="top", fontsize=7, color="#555555")
    return canvas


def _head(strip: SubFigure, record: Data) -> None:
    strip.text(0.01, 0.45, record["title"], ha="left", va="center", fontsize=11.5, fontweight="bold")
    marks = " + ".join(record["marks"]).upper()
    strip.text(0.99, 0.45, marks, ha="right", va="center", fontsize=8.5, fontweight="bold", color=VERMILLION)


def _footer(record: Data) -> str:
    """Say how the numbers came about and where from."""
    sources = record["sources"]
    keys = list(dict.fromkeys(name for facts in sources for name in _names(facts)))
    commits = list(dict.fromkeys(commit for facts in sources for commit in facts.get("commits", ())))
    shown = ", ".join(keys[:2]) + (f" and {len(keys) - 2} more" if len(keys) > 2 else "")
    of = f" · commit {', '.join(commits)}" if commits else ""
    where = f"{shown}{of} · data {record['data_hash']}"
    return "\n".join([*(MARKS[mark] for mark in record["marks"]), where])


def _names(facts: Data) -> list[str]:
    """Return the runs behind a source, or its file where it has none."""
    return [f"run {key}" for key in facts["key"].split("+")] if "key" in facts else [facts["file"]]


def _metadata(record: Data) -> dict[str, Any]:
    sources = "; ".join(
        f"{facts['file']} sha256={facts['sha256']} key={facts.get('key', '-')} commit={_commits(facts)}"
        for facts in record["sources"]
    )
    return {
        "Title": record["title"],
        "Creator": "spmoe-bench",
        "Identifier": f"{record['figure']} data={record['data_hash']}",
        "Source": sources,
        "Description": ", ".join(record["marks"]) or "measured",
        "Date": None,
    }


def _commits(facts: Data) -> str:
    return ",".join(facts.get("commits", ())) or "-"
