"""Which system wins where: every combination of systems, budgets, links and draft lengths, replayed side by side.

    python -m harness record experiment=bench replay=traces/bench
    python -m harness grid replay=traces/bench

All cells are replayed from one recording, on whose machine's layer times the predictions rest. Beside the map, the
command says how many cells a second it replayed, and how much faster than its own predictions that was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from harness.cli.launch import launch
from harness.config import compose
from harness.measure.contender import frozen
from harness.measure.counting import Tally
from harness.predict.forecast import with_draft_length
from harness.predict.parallel import ensure_positive, side_by_side
from harness.records.files import Lines, ensure_writable, write_text
from harness.tables import table
from harness.tables.columns import UNKNOWN, Section
from systems import api
from systems.api import BadInput, Recording, SystemConfig

SHOWN = 40
"""Lines of a map that a terminal is shown."""


@dataclass(frozen=True, slots=True)
class GridConfig:
    """`conf/grid.yaml`."""

    replay: str
    systems: Mapping[str, SystemConfig]
    budgets: tuple[float, ...]
    ratios: tuple[float, ...]
    draft_lengths: tuple[int, ...]
    host_share: float
    host_free_rows: float
    prompts: int | None
    warmup: int
    workers: int | None
    output: str

    def __post_init__(self) -> None:
        for name, least, most in (("budgets", 0, 1), ("ratios", 0, float("inf")), ("draft_lengths", 0, float("inf"))):
            values: Sequence[float] = getattr(self, name)
            if not values or not all(least < value <= most for value in values):
                bound = f"in ({least}, {most}]" if most == 1 else f"above {least}"
                raise BadInput(f"`{name}` is {list(values)}; one or more numbers {bound} are needed")
        if self.host_share <= 0 or self.host_free_rows < 1:
            raise BadInput(
                f"`host_share` is {self.host_share} and `host_free_rows` {self.host_free_rows}; above 0 and 1"
            )
        if self.warmup < 0 or (self.prompts is not None and self.prompts < 1):
            raise BadInput(f"`warmup` is {self.warmup} and `prompts` {self.prompts}; 0 and 1 are the least")
        ensure_positive(self.workers)


@dataclass(frozen=True, slots=True)
class Point:
    """A system at a budget (share of all experts' bytes), a link (transfer : layer) and a draft length (0: none)."""

    system: str
    draft_length: int
    budget: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """What is predicted at a point: metrics by id, tokens measured, and seconds of a live run, its warm-up included;
    `took` is what that has cost here, in seconds of a processor."""

    values: Mapping[str, float | None]
    reason: str | None = None
    tokens: int = 0
    seconds: float = 0.0
    took: float = 0.0


def main() -> int:
    """Replay for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    return launch(_run, compose.reading(GridConfig), "grid")


def points(config: GridConfig) -> Iterator[Point]:
    """Every cell; systems that do not draft once per budget and link."""
    for label, system in config.systems.items():
        for length in config.draft_lengths if api.traits(system).drafts else (0,):
            for budget in config.budgets:
                for ratio in config.ratios:
                    yield Point(label, length, budget, ratio)


class Replayer:
    """Replays cells from one recording.

    Raises:
        BadInput: there is none, or it is too short.
    """

    def __init__(self, config: GridConfig) -> None:
        self._config = config
        self._recording: Recording = api.load_traces(Path(config.replay))
        requests = self._recording.requests
        measured = len(requests) - config.warmup if config.prompts is None else config.prompts
        if measured < 1 or measured + config.warmup > len(requests):
            raise BadInput(
                f"`replay` holds {len(requests)} prompts, and {config.warmup} warm up before {max(measured, 1)}; "
                "lower `warmup` or `prompts`, or record more"
            )
        self._measured, self._warmup = requests[:measured], requests[len(requests) - config.warmup :]

    def __call__(self, point: Point) -> Replayed:
        """Predict one cell.

        Raises:
            BadInput: from the system.
        """
        started = time.process_time()
        recording = self._recording
        transfer = point.ratio * recording.costs.target_layer[1]
        link = api.LinkSpec(recording.record_bytes / transfer, 0.0, virtual=True)
        costs = replace(recording.costs, transfer=transfer, call=0.0, host=self._host(transfer))
        config = with_draft_length(self._config.systems[point.system], point.draft_length)
        try:
            system = api.build_replay(config, recording, int(point.budget * recording.expert_bytes), link, costs)
        except api.DidNotFit as error:
            return Replayed({}, str(error))
        began = system.now_ns()
        for request in self._warmup:
            system.calibrate([request])
        tally = Tally(system.now_ns)
        for request in self._measured:
            system.rehearse([request])
            tally.begin(request.max_new_tokens)
            system.generate([request], tally)
            tally.end()
        system.close()
        live, took = (system.now_ns() - began) / 1e9, time.process_time() - started
        return Replayed(tally.values(), None, tally.generated, live, took)

    def _host(self, transfer: float) -> api.HostCosts:
        base = self._config.host_share * transfer
        return api.HostCosts(base, base / self._config.host_free_rows, self._config.host_free_rows)


def _run(config: GridConfig) -> None:
    console, folder = Console(), Path(config.output)
    ensure_writable(folder)
    cells, began = list(points(config)), time.perf_counter()
    replayed = side_by_side(Replayer, config, cells, config.workers)
    found, lines = dict[Point, Replayed](), Lines(folder / "grid.jsonl")  # not before: an earlier map is in it
    with frozen(), closing(lines):
        for point, one in track(zip(cells, replayed, strict=True), "cells", len(cells), transient=True):
            found[point] = one
            lines.add([{**asdict(point), **one.values, "reason": one.reason}])
    pace = _pace(list(found.values()), time.perf_counter() - began)
    section = _map(config, found)
    write_text(folder / "grid.md", table.as_markdown([section], [pace]))
    if len(section.lines) <= SHOWN:
        table.draw([section], console)
    console.print(f"{pace}\nmap: {folder / 'grid.md'}, data: {folder / 'grid.jsonl'}", highlight=False)


def _pace(found: Sequence[Replayed], elapsed: float) -> str:
    """How long the replays took, by the clock and of a processor, and what they stand for."""
    fitting = [one for one in found if one.tokens]
    if not fitting:
        return f"{len(found)} cells: nothing fits"
    tokens, live, took = (sum(each) for each in zip(*((f.tokens, f.seconds, f.took) for f in fitting), strict=True))
    left_out = f" ({len(found) - len(fitting)} more do not fit)" if len(fitting) < len(found) else ""
    return (
        f"{len(fitting)} cells{left_out} of {fitting[0].tokens} tokens behind their warm-up in {elapsed:.1f} s: "
        f"{live / elapsed:.0f} times faster than the {live:.0f} s that they predict; {len(fitting) / took:.1f} cells/s "
        f"and {took / tokens * 1e6:.0f} us per token of one processor, {live / took:.0f} times faster"
    )


def _map(config: GridConfig, found: Mapping[Point, Replayed]) -> Section:
    """A line per budget and link: the fastest system, and the fastest that speculates."""
    best = dict[tuple[float, float, bool], tuple[float, Point]]()
    for point, one in found.items():
        if (tpot := one.values.get("tpot")) is not None:
            for drafts in {False, point.draft_length > 0}:
                key = (point.budget, point.ratio, drafts)
                best[key] = min(best.get(key, (tpot, point)), (tpot, point), key=lambda pair: pair[0])
    lines: list[tuple[str, ...]] = [
        (
            f"{budget:.0%}",
            f"{ratio:g}",
            *_named(best.get((budget, ratio, False))),
            *_named(best.get((budget, ratio, True))),
        )
        for budget in config.budgets
        for ratio in config.ratios
    ]
    headings = ("budget", "transfer : layer", "fastest", "TPOT ms", "that drafts", "TPOT ms")
    return Section("Fastest system by budget and link (predicted)", headings, (), lines, len(lines))


def _named(best: tuple[float, Point] | None) -> tuple[str, str]:
    if best is None:
        return UNKNOWN, UNKNOWN
    tpot, point = best
    return f"{point.system}, {point.draft_length}" if point.draft_length else point.system, f"{tpot * 1e3:.2f}"
