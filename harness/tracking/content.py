"""What a tracker is told: of a cell its config, numbers, requests and records; of a comparison what a reader sees."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.records.cells import stored_origin
from harness.records.lines import RequestLine, StepLine, read_requests, read_steps
from harness.records.provenance import scrub
from harness.records.summary_file import Row
from harness.tracking import numbers
from harness.tracking.numbers import MIB, Numbers

if TYPE_CHECKING:
    from harness.bench.run import Outcome

LONGEST = 64
"""Characters that W&B lets a tag have."""
LONGEST_GROUP = 128
SHOWN = (
    "tpot", "ttft", "throughput", "hit_rate", "acceptance_rate", "acceptance_length", "bytes_per_token", "stall_share",
    "exact_match", "oracle_gap", "pass_at_1", "accuracy", "rouge_l",
)  # fmt: skip
"""Metrics in the table of a comparison; speedups come besides."""


@dataclass(frozen=True)
class Table:
    """A table by its columns; None is unknown."""

    columns: Sequence[str]
    lines: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Bars:
    """A histogram: values between edges, of which there is one more."""

    values: Sequence[float]
    edges: Sequence[float]


@dataclass(frozen=True)
class Run:
    """One run of a tracker.

    Attributes:
        id: the same for the same measurement, so that it is one run however often it is sent.
        history: lines over each axis, which is a counter and the first part of the names of its numbers.
        histograms: numbers to count, or bars.
        files: the artifact.
        published: the folder that has a report page; see `pages`.
    """

    id: str
    name: str
    group: str
    kind: str
    tags: Sequence[str]
    config: Mapping[str, Any]
    summary: Numbers
    history: Mapping[str, Sequence[Numbers]] = field(default_factory=dict)
    histograms: Mapping[str, Sequence[float] | Bars] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    files: Sequence[Path] = ()
    published: Path | None = None


def of_cell(outcome: Outcome, row: Row, key: str) -> Run:
    """Return the run of one system; `key` as in `mirror`."""
    label, tracking = row["system"], outcome.config.tracking
    folder = outcome.folders[label]
    origin = stored_origin(folder)
    requests, steps = read_requests(folder), read_steps(folder)
    history = {"request": numbers.of_requests(requests, steps)}
    if tracking.steps:
        history["step"] = numbers.of_steps(steps)
    return Run(
        id=_id(outcome.key, label, origin),
        name=f"{label}-{outcome.key}",
        group=tracking.group or key[:LONGEST_GROUP],
        kind="bench",
        tags=_tags(row, origin),
        config=_config(outcome, row, origin),
        summary={"status": row["status"], "emulated": row["emulated"], **numbers.summary(row)},
        history=history,
        histograms=_histograms(row, steps),
        tables={"requests": _requests(requests, history["request"], tracking.text)},
        files=sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")),
    )


def of_comparison(outcomes: Sequence[Outcome], key: str, folder: Path) -> Run:
    """Return the run of what was published together in a folder."""
    rows = [row for outcome in outcomes for row in outcome.rows]
    origins = [stored_origin(path) for outcome in outcomes for path in outcome.folders.values()]
    return Run(
        id=_id(key, "", *origins),
        name=f"comparison-{folder.resolve().name}",
        group=outcomes[0].config.tracking.group or key[:LONGEST_GROUP],
        kind="comparison",
        tags=sorted({tag for row, origin in zip(rows, origins, strict=True) for tag in _tags(row, origin)[1:-1]}),
        config=scrub({"systems": [row["system"] for row in rows], "key": key, "provenance": origins[0]}),
        summary={f"{row['system']}/{name}": value for row in rows for name, value in _compared(row).items()},
        tables={"comparison": _comparison(rows)},
        files=[folder / name for name in ("summary.json", "table.md", "provenance.json")],
        published=folder,
    )


def _id(key: str, label: str, *origins: Mapping[str, Any]) -> str:
    """Return a name of a measurement: what was measured, and when."""
    parts = "\0".join([key, label, *(str(origin.get("started")) for origin in origins)])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def _tags(row: Row, origin: Mapping[str, Any]) -> list[str]:
    """Return system, what it ran on, commit and, last, status."""
    marks = [name for name in ("emulated", "replayed") if row[name]]
    commit = [str(origin["commit"])[:10]] if origin.get("commit") else []
    parts = [row["system"], row["model"], row["dataset"], row["hardware"], *marks, *commit, row["status"]]
    return [tag[:LONGEST] for tag in parts]


def _config(outcome: Outcome, row: Row, origin: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the cell's own config, what the system chose, and sizes as numbers, which axes of plots can have."""
    plain = outcome.config.identity()
    systems = plain.pop("systems")
    plain.pop("reference")
    chosen = {name: value for name, value in row["description"].items() if isinstance(value, (bool, int, float, str))}
    sizes = {"budget_mib": row["budget_bytes"] / MIB}
    system = {"label": row["system"], **systems[row["system"]]}
    config: Mapping[str, Any] = scrub({**plain, **sizes, "system": system, "chosen": chosen, "provenance": origin})
    return config


def _histograms(row: Row, steps: Sequence[StepLine]) -> dict[str, Sequence[float] | Bars]:
    shares = numbers.acceptance_by_position(row)
    waits = [line.spans.get("transfer", 0.0) * 1e3 for line in numbers.cycles(steps)]
    histograms: dict[str, Sequence[float] | Bars] = {"transfer_waits_ms": waits} if any(waits) else {}
    if shares:
        histograms["acceptance_by_position"] = Bars(shares, [place + 0.5 for place in range(len(shares) + 1)])
    return histograms


def _requests(requests: Sequence[RequestLine], points: Sequence[Numbers], text: bool) -> Table:
    """Return the table of requests; their texts may be long, and are there on demand."""
    names = list(dict.fromkeys(name for point in points for name in point))
    heads = ["id", "repeat", "batch", "finish", "first_divergence", *names, *(["text"] if text else [])]
    lines = [
        [
            *(getattr(line, name) for name in heads[:5]),
            *(point.get(name) for name in names),
            *([line.text] if text else []),
        ]
        for line, point in zip(requests, points, strict=True)
    ]
    return Table(heads, lines)


def _comparison(rows: Sequence[Row]) -> Table:
    facts = ("system", "status", "lossless", "model", "dataset", "hardware", "batch")
    compared = [_compared(row) for row in rows]
    names = list(dict.fromkeys(name for numbers_of in compared for name in numbers_of))
    lines = [
        [*(row[name] for name in facts), row["budget_bytes"] / MIB, *(numbers_of.get(name) for name in names)]
        for row, numbers_of in zip(rows, compared, strict=True)
    ]
    return Table([*facts, "budget_mib", *names], lines)


def _compared(row: Row) -> Numbers:
    """Return the numbers that a comparison shows of a row, intervals beside them."""
    speedups = [id for id in row["metrics"] if id.startswith("speedup_over_")]
    metrics = {id: row["metrics"][id] for id in (*SHOWN, *speedups) if id in row["metrics"]}
    return numbers.summary(row | {"metrics": metrics})


def pages(folder: Path) -> dict[str, str]:
    """Return the report of a published folder, its figures and timeline, as HTML by name; drawing them takes a while.

    Raises:
        ImportError: what draws is not installed.
    """
    from harness.report import forms
    from harness.report.content import gather

    report = gather(folder)
    return {"report": forms.html(report), **dict(_figures(report.pictures))}


def _figures(pictures: Sequence[Any]) -> Iterator[tuple[str, str]]:
    for picture in pictures:
        if picture.data:
            yield f"figure/{picture.name}", base64.b64decode(picture.data.partition(",")[2]).decode()
