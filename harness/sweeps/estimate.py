"""How long cells may take, from those that are finished."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from harness import datasets
from harness.bench import run as bench
from harness.config.bench import BenchConfig
from harness.records import cells as records
from harness.records.lines import read_requests
from systems.api import BadInput

Kind = tuple[str, str, str, bool]
"""What decides a cell's pace in the first place: label, model, hardware, and whether it is replayed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A comparison before it is measured: its key, cells finished already, seconds for the others (None: unknown)."""

    key: str
    finished: tuple[str, ...]
    seconds: float | None


def plan(config: BenchConfig) -> Plan:
    """Say what measuring a comparison would take; a comparison is measured as a whole or not at all.

    Raises:
        BadInput: the dataset cannot be read.
    """
    prompts = datasets.load(config.dataset)
    key = bench.key_of(config, prompts)
    done = [label for label in config.systems if records.finished_row(Path(config.runs) / key / label)]
    if config.resume and len(done) == len(config.systems):
        return Plan(key, tuple(done), 0.0)
    count = config.dataset.limit or len(prompts) - config.measure.warmup
    tokens = count * config.measure.repeats * config.measure.max_new_tokens
    known = _paces(Path(config.runs))
    kinds = [_kind(label, config.model.name, config.hardware.name, config.replay) for label in config.systems]
    if not all(kind in known for kind in kinds):
        return Plan(key, tuple(done), None)
    return Plan(key, tuple(done), sum(median(known[kind]) for kind in kinds) * tokens)


def _paces(runs: Path) -> dict[Kind, list[float]]:
    """Return seconds per token asked for, by kind, of every finished cell."""
    found: dict[Kind, list[float]] = defaultdict(list)
    for folder in runs.glob("*"):
        for kind, pace in _of_comparison(folder):
            found[kind].append(pace)
    return found


def _of_comparison(folder: Path) -> Iterator[tuple[Kind, float]]:
    """Share the duration of a comparison out to its cells by what each was recorded to take.

    The recorded times alone would not do: those of a replay are another clock's.
    """
    cells = [cell for path in folder.glob("*/summary.json") if (cell := _read(path.parent)) is not None]
    recorded = sum(cell.recorded for cell in cells)
    for cell in cells:
        if recorded and cell.asked:
            yield cell.kind, cell.wall * cell.recorded / recorded / cell.asked


@dataclass(frozen=True, slots=True)
class _Cell:
    kind: Kind
    wall: float
    recorded: float
    asked: int


def _read(folder: Path) -> _Cell | None:
    row = records.finished_row(folder)
    try:
        origin = records.stored_origin(folder)
        started, ended = (datetime.fromisoformat(origin[name]) for name in ("started", "ended"))
        limit = int(origin["max_new_tokens"])
        lines = read_requests(folder)
    except (OSError, ValueError, KeyError, BadInput):
        return None  # an older record, or one that is being written
    if row is None:
        return None
    kind = _kind(row["system"], row["model"], row["hardware"], row["replayed"])
    recorded = sum((line.ttft or 0.0) + line.decode_seconds for line in lines)
    return _Cell(kind, (ended - started).total_seconds(), recorded, limit * len(lines))


def _kind(label: str, model: str, hardware: str, replay: str | bool | None) -> Kind:
    return label, model, hardware, bool(replay)
