"""Which system, which draft length: a prediction for a model and a machine that need not be at hand.

    python -m harness.plan shape=mixtral_8x7b machine=rtx_4090 memory=24GB

Every system is replayed from one generated trace with the model's published statistics, on a virtual clock whose costs
are the machine's: a layer reads its weights at the memory's bandwidth and takes its launch time besides.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from harness import compose, schema
from harness.config import size_bytes
from harness.files import dump, ensure_writable, write_text
from harness.meter import RecordingMeter
from harness.metrics import acceptance, experts, tpot
from harness.metrics.base import Cell
from harness.run import launch
from systems import api
from systems.api import BadInput, ModelShape, Request, SystemConfig


@dataclass(frozen=True, slots=True)
class LinkShape:
    """Bytes per second of large copies, and the fixed part of each in seconds."""

    name: str
    bandwidth: float
    latency: float


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """`conf/machine/*.yaml`: fast memory in bytes, its bandwidth in bytes/s, the fixed time of a layer in seconds."""

    name: str
    source: str
    memory: float
    memory_bandwidth: float
    layer_floor: float
    link: LinkShape
    remote_token_share: float

    def __post_init__(self) -> None:
        numbers = {name: getattr(self, name) for name in ("memory", "memory_bandwidth", "layer_floor")}
        for name, value in {**numbers, "link.bandwidth": self.link.bandwidth}.items():
            if value <= 0:
                raise BadInput(f"`machine.{name}` is {value}; a positive number is needed")


@dataclass(frozen=True, slots=True)
class PlanConfig:
    """`conf/plan.yaml`."""

    shape: ModelShape
    machine: MachineConfig
    systems: Mapping[str, SystemConfig]
    memory: str | None
    reserve: str
    draft_lengths: tuple[int, ...]
    prompts: int
    prompt_tokens: int
    new_tokens: int
    seed: int
    runs: str
    output: str

    @property
    def budget(self) -> int:
        """Bytes for experts and draft.

        Raises:
            BadInput: memory that does not even hold the other weights.
        """
        memory = int(self.machine.memory) if self.memory is None else size_bytes("memory", self.memory)
        kept = self.shape.other_bytes + size_bytes("reserve", self.reserve)
        if memory <= kept:
            raise BadInput(
                f"`memory` is {memory / 1e9:.1f} GB, and {self.shape.name} keeps {kept / 1e9:.1f} GB beside its experts"
            )
        return memory - kept


def main() -> int:
    """Plan for `sys.argv`; exit codes are those of `harness.run.main`."""
    return launch(_plan, _read, "plan")


def costs(shape: ModelShape, machine: MachineConfig, widths: Sequence[int]) -> api.Costs:
    """Times of the model's layers and transfers on a machine, experts resident (s).

    A layer takes its launch time and reads its share of the other weights and the experts of so many tokens, whose
    number is the expected one under independent routing.
    """
    dense = shape.other_bytes / shape.layers

    def layer(width: int) -> float:
        used = shape.experts * (1 - (1 - shape.top_k / shape.experts) ** width) * shape.moe_layers / shape.layers
        return machine.layer_floor + (dense + used * shape.expert_bytes) / machine.memory_bandwidth

    draft = machine.layer_floor
    if shape.draft.layers:
        draft += shape.draft.bytes / shape.draft.layers / machine.memory_bandwidth
    transfer = machine.link.latency + shape.expert_bytes / machine.link.bandwidth
    return api.Costs({width: layer(width) for width in widths}, {1: draft}, transfer, machine.link.latency)


def predict(config: PlanConfig) -> list[dict[str, Any]]:
    """Return one row per system and draft length, the fastest first; what does not fit comes last.

    Raises:
        BadInput: as `PlanConfig.budget`, and from the systems.
    """
    widths = sorted({1, *(length + 1 for length in config.draft_lengths)})
    found = costs(config.shape, config.machine, widths)
    link = api.LinkSpec(
        config.machine.link.bandwidth,
        config.machine.link.latency,
        config.machine.remote_token_share * found.transfer,
        virtual=True,
    )
    traces, requests = api.imagine_traces(
        config.shape, found, max(config.draft_lengths), config.prompts + 1, config.prompt_tokens, config.new_tokens,
        config.seed,
    )  # fmt: skip
    rows = [
        _row(label, system, traces, requests, config.budget, link, found)
        for label, system in track(list(_candidates(config)), "systems")
    ]
    return sorted(rows, key=lambda row: row["tpot"] or float("inf"))


def _candidates(config: PlanConfig) -> list[tuple[str, SystemConfig]]:
    """Every system, and those that draft once per draft length."""
    found = []
    for label, system in config.systems.items():
        if system.drafter["part"] == "none":
            found.append((label, system))
        for length in config.draft_lengths if system.drafter["part"] != "none" else ():
            found.append((label, replace(system, drafter={**system.drafter, "draft_length": length})))
    return found


def _row(
    label: str,
    system: SystemConfig,
    traces: api.Traces,
    requests: Sequence[Request],
    budget: int,
    link: api.LinkSpec,
    costs: api.Costs,
) -> dict[str, Any]:
    length = system.drafter.get("draft_length", 0)
    row: dict[str, Any] = {"system": label, "draft_length": length, "tpot": None, "reason": None}
    try:
        built = api.build_replay(system, traces, budget, link, costs)
    except api.DidNotFit as error:
        return row | {"reason": str(error)}
    built.calibrate(requests[:1])
    generations = []
    for number, request in enumerate(requests[1:]):
        built.rehearse([request])
        meter = RecordingMeter([request.id], [request.max_new_tokens], frozenset(), built.now_ns)
        built.generate([request], meter)
        generations.append(meter.finish(0, number, 0))
    facts = built.describe()
    built.close()
    cell = Cell(generations, no_reference="a generated trace", fast_bytes=built.fast_bytes)
    values = tpot.measure(cell) | experts.measure(cell) | acceptance.measure(cell)
    shown = ("tpot", "hit_rate", "bytes_per_token", "acceptance_length")
    return row | {id: values[id].value for id in shown} | {"slots": facts["slots"], "cutoff": facts.get("cutoff")}


def _read(composed: dict[str, Any], folders: Sequence[Path], overrides: Sequence[str]) -> PlanConfig:
    values = dict(composed)
    values["systems"] = compose.listed_systems(values["systems"], folders)
    return schema.parse(PlanConfig, values, "")


def _plan(config: PlanConfig) -> None:
    console, folder = Console(), Path(config.output)
    ensure_writable(folder)
    rows = predict(config)
    title = (
        f"{config.shape.name} on {config.machine.name}: {config.budget / 1e9:.1f} GB for experts and draft (predicted)"
    )
    facts = {"shape": asdict(config.shape), "machine": asdict(config.machine), "budget_bytes": config.budget}
    write_text(folder / "plan.json", dump({"schema": "spmoe-bench/plan/1", **facts, "rows": rows}, indent=1))
    _draw(rows, title, folder / "plan.png")
    console.print(_table(rows, title))
    for row in rows:
        if row["reason"] and row["draft_length"] == config.draft_lengths[0]:
            console.print(f"{row['system']}: {row['reason']}", highlight=False)
    console.print(f"picture: {folder / 'plan.png'}, data: {folder / 'plan.json'}", highlight=False)


def _table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    table = Table(title=title)
    for heading in ("system", "draft", "cutoff", "TPOT ms", "tokens/s", "hit rate", "MiB/token", "slots"):
        table.add_column(heading, justify="left" if heading == "system" else "right")
    for row in (row for row in rows if row["tpot"]):
        table.add_row(
            row["system"], str(row["draft_length"] or "-"), "-" if row["cutoff"] is None else str(row["cutoff"]),
            f"{row['tpot'] * 1e3:.1f}", f"{1 / row['tpot']:.1f}", f"{row['hit_rate']:.3f}",
            f"{row['bytes_per_token'] / 2**20:.0f}", str(row["slots"]),
        )  # fmt: skip
    return table


def _draw(rows: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Bars of predicted TPOT, each system with its best draft length."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    best: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if row["tpot"]:
            best.setdefault(row["system"], row)
    labels = [f"{name} ({row['draft_length']})" if row["draft_length"] else name for name, row in best.items()]
    figure, axes = pyplot.subplots(figsize=(8, 0.45 * len(best) + 1.4), layout="constrained")
    bars = axes.barh(labels[::-1], [row["tpot"] * 1e3 for row in best.values()][::-1])
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set_xlabel("TPOT (ms), predicted; draft length in brackets")
    axes.set_title(title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
