"""A figure: numbers collected from stored records, and a picture drawn from those numbers and nothing else.

The numbers go beside the picture as JSON, so that what a reader sees can be checked, compared and drawn anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.figures.drawing.sources import Experiment, Source, origin, rows_of
from harness.records.files import dump
from harness.records.papers import Reported
from harness.records.published import metric
from harness.records.summary_file import Row

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure as Canvas

SCHEMA = "spmoe-bench/figure/1"
Data = dict[str, Any]
Collect = Callable[..., Data]
"""From what each source of the figure holds, in their order, and the papers' numbers, to what is drawn."""


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        sources: what it is drawn from.
        collect: see `Collect`.
        draw: from the numbers to a picture.
        size: inches.
        papers: files of `results/papers/` whose numbers are drawn beside ours.
    """

    name: str
    title: str
    sources: tuple[Source, ...]
    collect: Collect
    draw: Callable[[Data, Canvas], None]
    size: tuple[float, float] = (8.0, 4.5)
    papers: tuple[str, ...] = ()

    def record(self, results: Path) -> Data:
        """Return everything that the sidecar holds.

        Raises:
            Missing, Unreadable: records that are not there, or not to be trusted.
            BadInput: a line of `results/papers/` that is wrong.
        """
        from harness.records import papers

        held = [source.read(results) for source in self.sources]
        reported = [one for name in self.papers for one in papers.load(papers.PAPERS / f"{name}.csv")]
        data = self.collect(*held, *([reported] if self.papers else []))
        marks = [mark for mark in ("emulated", "replayed") if any(_marked(source, mark) for source in held)]
        return {
            "schema": SCHEMA,
            "figure": self.name,
            "title": self.title,
            "marks": marks,
            "sources": [facts for source in self.sources for facts in origin(source, results)],
            "reported": [f"papers/{name}.csv" for name in self.papers],
            "data_hash": data_hash(data),
            "data": data,
        }

    @property
    def commands(self) -> list[str]:
        """What makes its records."""
        return [source.command for source in self.sources]

    def belongs_to(self, folder: str) -> bool:
        """Whether it is drawn from the result set in this folder of `results/`."""
        return any(isinstance(source, Experiment) and source.folder == folder for source in self.sources)


def data_hash(data: Data) -> str:
    """Return the start of the SHA-256 of what is drawn."""
    return hashlib.sha256(dump(data).encode()).hexdigest()[:16]


def point(row: Row, id: str, scale: float = 1.0) -> dict[str, float | None] | None:
    """Return a metric with its interval for drawing, to six digits; None where it is unknown."""
    found = metric(row, id)
    return found and {name: None if value is None else rounded(value * scale) for name, value in found.items()}


def entry(row: Row, **values: Any) -> Data:
    """Return what every drawn system says about itself, and the values."""
    drafts = bool(row["description"].get("draft_length"))
    return {
        "system": row["system"], "status": row["status"], "lossless": row["lossless"], "drafts": drafts, **values,
    }  # fmt: skip


def rounded(value: float) -> float:
    """Six significant digits: what is beyond them is noise in a diff."""
    return float(f"{value:.6g}")


def cited(found: Sequence[Reported]) -> str:
    """Return the citation of published numbers, e.g. `arXiv 2510.10302, Fig. 10, text`."""
    places: dict[str, dict[str, None]] = {}
    for one in found:
        places.setdefault(one.paper, {})[one.where] = None
    return "; ".join(f"arXiv {paper}, {', '.join(where)}" for paper, where in places.items())


def _marked(held: Any, mark: str) -> bool:
    if isinstance(held, Mapping):
        return bool(held.get(mark))
    return any(row.get(mark) for row in rows_of(held))
