"""Which system, which draft length, which cutoff: predicted for a model and a machine that need not be at hand.

    python -m harness plan shape=mixtral_8x7b machine=rtx_4090 memory=24GB

Every system is replayed from one generated trace with the model's published statistics, on a virtual clock whose costs
are the machine's: a layer reads its weights at the memory's bandwidth and takes its launch time besides.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from harness.cli.launch import USAGE, launch
from harness.config import compose
from harness.config.bench import size_bytes
from harness.predict.forecast import Choice, Forecast, Forecaster, TextConfig, room, with_draft_length
from harness.predict.machine import MachineConfig
from harness.predict.parallel import ensure_positive, side_by_side
from harness.records.files import dump, ensure_writable, write_text
from harness.tables import table
from harness.tables.columns import UNKNOWN, Section
from systems import api
from systems.api import BadInput, ModelShape, SystemConfig

SCHEMA = "spmoe-bench/plan/2"
INSTEAD = {"model": "shape", "hardware": "machine"}
"""What runs are told and plans are not: a plan needs a model and a machine in numbers only."""


@dataclass(frozen=True, slots=True)
class PlanConfig:
    """`conf/plan.yaml`."""

    shape: ModelShape
    machine: MachineConfig
    systems: Mapping[str, SystemConfig]
    memory: str | None
    reserve: str
    draft_lengths: tuple[int, ...]
    text: TextConfig
    workers: int | None
    runs: str
    output: str

    def __post_init__(self) -> None:
        ensure_positive(self.workers)
        if not self.draft_lengths or min(self.draft_lengths) < 1:
            raise BadInput(f"`draft_lengths` is {list(self.draft_lengths)}; one or more lengths from 1 are needed")

    @property
    def budget(self) -> int:
        """Bytes for experts and draft.

        Raises:
            BadInput: memory that does not even hold the other weights.
        """
        memory = int(self.machine.memory) if self.memory is None else size_bytes("memory", self.memory)
        return room(self.shape, memory, size_bytes("reserve", self.reserve))


def main() -> int:
    """Plan for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    for argument in sys.argv[1:]:
        if (key := argument.partition("=")[0]) in INSTEAD:
            sys.stderr.write(f"error: no config key `{key}` here, where nothing is run; say {INSTEAD[key]}=NAME\n")
            return USAGE
    return launch(_plan, compose.reading(PlanConfig), "plan")


def predict(config: PlanConfig) -> list[Choice]:
    """Return every system with every draft length, the fastest first; what does not fit comes last.

    Raises:
        BadInput: as `PlanConfig.budget`, and from the systems.
    """
    candidates = _candidates(config)
    forecasts = side_by_side(_forecaster, config, [system for _, system in candidates], config.workers)
    found = [
        Choice(label, system.drafter.get("draft_length", 0), api.traits(system).governed, forecast)
        for (label, system), forecast in track(
            zip(candidates, forecasts, strict=True), "systems", len(candidates), transient=True
        )
    ]
    return sorted(found, key=lambda choice: choice.forecast.tpot or float("inf"))


def _forecaster(config: PlanConfig) -> Callable[[SystemConfig], Forecast]:
    forecaster = Forecaster(config.shape, config.machine, config.text, max(config.draft_lengths))
    return partial(forecaster, budget=config.budget)


def _candidates(config: PlanConfig) -> list[tuple[str, SystemConfig]]:
    """Every system, and those that draft once per draft length; a governor gets the longest and chooses itself."""
    found = []
    for label, system in config.systems.items():
        traits = api.traits(system)
        lengths = [max(config.draft_lengths)] if traits.governed else list(config.draft_lengths)
        tried = lengths if traits.drafts else [0]
        found += [(label, with_draft_length(system, length)) for length in tried]
    return found


def answer(choices: Sequence[Choice]) -> str:
    """Say which is the fastest, and which of those that speculate."""
    best = [choices[0], *(choice for choice in choices if choice.draft_length)][:2]
    said = []
    for role, choice in zip(("fastest", "fastest that speculates"), best, strict=False):
        if (tpot := choice.forecast.tpot) is not None:
            cutoff = f", cutoff after {choice.forecast.cutoff} layers" if choice.forecast.cutoff is not None else ""
            said.append(f"{role}: {choice.name}{cutoff}: {tpot * 1e3:.1f} ms per token, {1 / tpot:.1f} tokens/s")
    return "; ".join(dict.fromkeys(said)) or "nothing fits"


def _plan(config: PlanConfig) -> None:
    from harness.predict.plan_picture import draw

    console, folder = Console(), Path(config.output)
    ensure_writable(folder)
    choices = predict(config)
    size = config.budget / 1e9
    title = f"{config.shape.name} on {config.machine.name}: {size:.1f} GB for experts and draft (predicted)"
    section, reasons = _section(choices, title), _reasons(choices)
    facts = {"shape": asdict(config.shape), "machine": asdict(config.machine), "budget_bytes": config.budget}
    rows = [_row(choice) for choice in choices]
    write_text(folder / "plan.json", dump({"schema": SCHEMA, **facts, "rows": rows}, indent=1))
    write_text(folder / "plan.md", table.as_markdown([section], [answer(choices), *reasons]))
    draw(choices, title, folder / "plan.png")
    table.draw([section], console)
    table.say(reasons, console)
    console.print(answer(choices), highlight=False)
    console.print(f"picture: {folder / 'plan.png'}, data: {folder / 'plan.json'}", highlight=False)


def _row(choice: Choice) -> dict[str, Any]:
    found = asdict(choice)
    forecast: dict[str, Any] = found.pop("forecast")
    return found | forecast


def _section(choices: Sequence[Choice], title: str) -> Section:
    lines = [_line(choice) for choice in choices if choice.forecast.reason is None]
    headings = ("system", "draft", "cutoff", "TPOT ms", "tokens/s", "hit rate", "MiB/token", "slots")
    return Section(title, headings, (), lines, len(lines))


def _line(choice: Choice) -> tuple[str, ...]:
    found = choice.forecast
    assert found.tpot is not None
    return (
        choice.system, choice.drafts or UNKNOWN, _text(found.cutoff, "d"), _text(found.tpot * 1e3, ".1f"),
        _text(1 / found.tpot, ".1f"), _text(found.hit_rate, ".3f"),
        _text(found.bytes_per_token and found.bytes_per_token / 2**20, ".0f"), _text(found.slots, "d"),
    )  # fmt: skip


def _text(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)


def _reasons(choices: Sequence[Choice]) -> list[str]:
    """Why systems do not fit, each once."""
    found = {choice.system: choice.forecast.reason for choice in choices if choice.forecast.reason is not None}
    return [f"{system}: {reason}" for system, reason in found.items()]
