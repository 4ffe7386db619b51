"""From numbers to an SVG: the same bytes for the same numbers and the same matplotlib."""

from __future__ import annotations

import io
from typing import Any

from harness.figures.base import Data, Figure
from harness.figures.style import VERMILLION

SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "spmoe-bench",
}
MARKS = {
    "emulated": "EMULATED LINK: transfers are paced to the ratio of the named machine, not its speed",
    "replayed": "REPLAYED: times are predictions",
}


def render(figure: Figure, record: Data) -> str:
    """Return the picture as SVG, its origin in its metadata and, in short, below it."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(SETTINGS):
        canvas = Canvas(figsize=figure.size, layout="constrained")
        figure.draw(record["data"], canvas)
        canvas.suptitle(figure.title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        canvas.supxlabel(_footer(record), x=0.01, ha="left", fontsize=6.5, color="#555555")
        if record["marks"]:
            canvas.text(
                0.995, 0.985, " + ".join(record["marks"]).upper(), ha="right", va="top", fontsize=8,
                fontweight="bold", color=VERMILLION,
            )  # fmt: skip
        stream = io.StringIO()
        canvas.savefig(stream, format="svg", metadata=_metadata(record))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _footer(record: Data) -> str:
    """Say how the numbers came about and where from."""
    sources = record["sources"]
    keys = list(dict.fromkeys(f"run {facts['key']}" if "key" in facts else facts["file"] for facts in sources))
    commits = list(dict.fromkeys(commit for facts in sources for commit in facts.get("commits", ())))
    shown = ", ".join(keys[:2]) + (f" and {len(keys) - 2} more" if len(keys) > 2 else "")
    of = f" · commit {', '.join(commits)}" if commits else ""
    where = f"{shown}{of} · data {record['data_hash']}"
    return "\n".join([*(MARKS[mark] for mark in record["marks"]), where])


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
