"""A report as HTML, Markdown and CSV: the same numbers in each."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from harness.report.content import Report
from harness.tables import columns, table

COLUMNS = (
    "point", "model", "dataset", "hardware", "emulated", "replayed", "batch", "budget_bytes", "system", "lossless",
    "status", "metric", "value", "low", "high", "unit", "n", "definition", "reason",
)  # fmt: skip


def html(report: Report) -> str:
    """Return one page that needs nothing but itself."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["plain"] = lambda value: json.dumps(value, indent=1, ensure_ascii=False)
    environment.filters["sortable"] = sortable
    return environment.get_template("page.html.jinja").render(report=report) + "\n"


def markdown(report: Report) -> str:
    """Return the tables, what is to be known of them, and the definitions."""
    parts = [f"# {report.name}", ", ".join(f"{count} {status}" for status, count in report.verdicts.items())]
    if report.curves:
        parts.append(table.as_markdown(report.curves, ["* not `ok`: the table of that point says why"]))
    for block in report.blocks:
        parts += [f"## {block.title}", table.as_markdown(block.sections, block.remarks)]
    parts += ["## Definitions", table.as_markdown([], report.definitions)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def tidy(report: Report) -> str:
    """Return every metric of every cell as CSV, one number a line, unrounded; unknown ones with their reason."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for summary in report.summaries:
        for row in summary.rows:
            shared: dict[str, Any] = {name: row.get(name) for name in COLUMNS if name in row}
            for id, entry in row["metrics"].items():
                own = {name: entry.get(name) for name in COLUMNS if name in entry}
                writer.writerow({"point": summary.point, **shared, "metric": id, **own})
            if not row["metrics"]:
                writer.writerow({"point": summary.point, **shared, "reason": row.get("reason")})
    return stream.getvalue()


def sortable(text: str) -> float | str:
    """Return what a cell is sorted by: its first number, else its text; what is unknown comes last."""
    found = re.match(r"-?\d+(?:\.\d+)?", text)
    if found:
        return float(found[0])
    return "" if text.rstrip("*") == columns.UNKNOWN else text
