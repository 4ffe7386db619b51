"""Who wins where: the fastest system over budget and link, and its gain over the second, by model and machine.

    python -m harness who_wins

The reference pair is replayed from a recording, the others from traces with their published statistics, on machines in
numbers. Every cell is a prediction on a virtual clock; of systems that draft, the best draft length counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from harness.cli.launch import launch
from harness.config import compose, schema
from harness.predict import grid
from harness.predict import machine as machines
from harness.predict.forecast import Forecaster, TextConfig, with_draft_length
from harness.predict.grid import GridConfig, Point
from harness.predict.machine import MachineConfig
from harness.predict.parallel import ensure_positive, side_by_side
from harness.records.files import dump, ensure_writable, write_text
from harness.tables import table
from harness.tables.columns import UNKNOWN, Section
from systems import api
from systems.api import BadInput, ModelShape, SystemConfig

SCHEMA = "spmoe-bench/who-wins/1"
RECORDING = (
    "python -m harness record experiment=bench system.drafter.draft_length=8 dataset.limit=4 measure.warmup=2 replay="
)
"""What records as many prompts, and as long drafts, as `conf/who_wins.yaml` asks for; a folder is to follow."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One model on one machine: the recording `replay`, or a `shape` and a `machine`."""

    replay: str | None = None
    shape: ModelShape | None = None
    machine: MachineConfig | None = None

    def __post_init__(self) -> None:
        if (self.replay is None) == (self.shape is None) or (self.shape is None) != (self.machine is None):
            raise BadInput("a panel has either `replay`, or `shape` and `machine`")

    @property
    def title(self) -> str:
        """What it is called."""
        if self.shape is None or self.machine is None:
            return "the reference pair"
        return f"{self.shape.name} on {self.machine.name}"


@dataclass(frozen=True, slots=True)
class WhoWinsConfig:
    """`conf/who_wins.yaml`."""

    panels: Mapping[str, Panel]
    only: tuple[str, ...] | None
    systems: Mapping[str, SystemConfig]
    bounds: tuple[str, ...]
    budgets: tuple[float, ...]
    ratios: tuple[float, ...]
    draft_lengths: tuple[int, ...]
    text: TextConfig
    prompts: int
    warmup: int
    host_share: float
    host_free_rows: float
    workers: int | None
    output: str

    def __post_init__(self) -> None:
        ensure_positive(self.workers)
        for name in self.bounds:
            if name not in self.systems:
                raise BadInput(f"`bounds` names {name}; {schema.suggest(name, self.systems)}")
        if len(self.systems) - len(self.bounds) < 2:
            raise BadInput("`systems` has fewer than two besides the bounds; nobody wins alone")
        for name in self.only or ():
            if name not in self.panels:
                raise BadInput(f"`only` names {name}; {schema.suggest(name, self.panels)}")

    @property
    def chosen(self) -> dict[str, Panel]:
        """The panels that are wanted."""
        return {name: panel for name, panel in self.panels.items() if self.only is None or name in self.only}

    def grid(self, replay: str) -> GridConfig:
        """What a recording is replayed by."""
        return GridConfig(
            replay, self.systems, self.budgets, self.ratios, self.draft_lengths, self.host_share, self.host_free_rows,
            self.prompts, self.warmup, 1, self.output,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """A point of a panel."""

    panel: str
    point: Point


def main() -> int:
    """Predict for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    return launch(_run, compose.reading(WhoWinsConfig), "who_wins")


def cells(config: WhoWinsConfig) -> list[Cell]:
    """Every point of every panel, panel by panel; a governor gets the longest draft and chooses itself."""
    longest = max(config.draft_lengths)
    governed = {name for name, system in config.systems.items() if api.traits(system).governed}
    every = grid.points(config.grid(""))
    points = [one for one in every if one.draft_length in (0, longest) or one.system not in governed]
    return [Cell(name, point) for name in config.chosen for point in points]


class Predictor:
    """Predicts cells.

    Raises:
        BadInput: a recording that is missing or too short.
    """

    def __init__(self, config: WhoWinsConfig) -> None:
        self._config = config
        self._made: dict[str, Callable[[Point], float | None]] = {}
        for name, panel in config.chosen.items():
            if panel.replay is not None:
                if not Path(panel.replay).is_dir():
                    raise BadInput(f"{panel.replay} holds no recording; make one with {RECORDING}{panel.replay}")
                self._of(name)

    def __call__(self, cell: Cell) -> float | None:
        """TPOT (s); None where the system does not fit."""
        return self._of(cell.panel)(cell.point)

    def _of(self, name: str) -> Callable[[Point], float | None]:
        if name not in self._made:
            panel = self._config.panels[name]
            if panel.replay is not None:
                replayer = grid.Replayer(self._config.grid(panel.replay))
                self._made[name] = lambda point: replayer(point).values.get("tpot")
            else:
                self._made = {name: self._forecasts(panel)}  # one at a time: traces are large
        return self._made[name]

    def _forecasts(self, panel: Panel) -> Callable[[Point], float | None]:
        shape, machine, config = panel.shape, panel.machine, self._config
        assert shape is not None
        assert machine is not None
        longest = max(config.draft_lengths)
        forecaster = Forecaster(shape, machine, config.text, longest)
        everything = shape.moe_layers * shape.experts * shape.expert_bytes
        linked = cache(partial(with_ratio, shape, machine))

        def predict(point: Point) -> float | None:
            system = with_draft_length(config.systems[point.system], point.draft_length)
            return forecaster(system, int(point.budget * everything), linked(point.ratio)).tpot

        return predict


def with_ratio(shape: ModelShape, machine: MachineConfig, ratio: float) -> MachineConfig:
    """The machine with a link over which an expert takes as long as `ratio` layers of one token, experts resident."""
    layer = machines.costs(shape, machine, [1]).target_layer[1]
    bandwidth = shape.expert_bytes / (ratio * layer - machine.link.latency)
    return replace(machine, link=replace(machine.link, bandwidth=bandwidth))


def ranked(found: Mapping[Cell, float | None], bounds: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield per panel, budget and ratio every system's TPOT (ms) at its best draft length, the fastest first, and the
    least of the systems that are `bounds` apart from them."""
    best = dict[tuple[str, float, float], dict[str, tuple[float, int]]]()
    for cell, tpot in found.items():
        point = cell.point
        systems = best.setdefault((cell.panel, point.budget, point.ratio), {})
        if tpot is not None:
            known = systems.get(point.system, (tpot, point.draft_length))
            systems[point.system] = min(known, (tpot, point.draft_length))
    for (panel, budget, ratio), systems in best.items():
        order = sorted(systems.items(), key=lambda item: item[1])
        lines = [
            {"system": name, "draft_length": length, "tpot_ms": round(tpot * 1e3, 4)} for name, (tpot, length) in order
        ]
        yield {
            "panel": panel,
            "budget": budget,
            "ratio": ratio,
            "bound": next((line for line in lines if line["system"] in bounds), None),
            "systems": [line for line in lines if line["system"] not in bounds],
        }


def _run(config: WhoWinsConfig) -> None:
    console, folder = Console(), Path(config.output)
    ensure_writable(folder)
    every = cells(config)
    predicted = side_by_side(Predictor, config, every, config.workers)
    found = dict(track(zip(every, predicted, strict=True), "cells", len(every), transient=True))
    rows = list(ranked(found, config.bounds))
    panels = {name: panel.title for name, panel in config.chosen.items()}
    facts = {"schema": SCHEMA, "replayed": True, "text": asdict(config.text), "panels": panels}
    write_text(folder / "who-wins.json", dump(facts | {"rows": rows}, indent=1))
    section = _section(rows)
    write_text(folder / "who-wins.md", table.as_markdown([section], []))
    table.draw([section], console)
    console.print(f"data: {folder / 'who-wins.json'}", highlight=False)


def _section(rows: Sequence[Mapping[str, Any]]) -> Section:
    lines = [_line(row) for row in rows]
    headings = ("model and machine", "budget", "transfer : layer", "fastest", "TPOT ms", "second", "gain", "x bound")
    return Section("Who wins where (predicted)", headings, (), lines, len(lines))


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    first, second = (_named(row["systems"], place) for place in (0, 1))
    gain = f"{second[1] / first[1]:.2f}" if first[1] and second[1] else UNKNOWN
    beyond = f"{first[1] / row['bound']['tpot_ms']:.2f}" if first[1] and row["bound"] else UNKNOWN
    return (
        row["panel"], f"{row['budget']:.0%}", f"{row['ratio']:g}", first[0], f"{first[1]:.2f}", second[0], gain, beyond,
    )  # fmt: skip


def _named(systems: Sequence[Mapping[str, Any]], place: int) -> tuple[str, float]:
    if place >= len(systems):
        return UNKNOWN, 0.0
    one = systems[place]
    length = f", {one['draft_length']}" if one["draft_length"] else ""
    return f"{one['system']}{length}", one["tpot_ms"]
