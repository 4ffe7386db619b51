"""The papers' numbers beside what a replay predicts for their models and machines, every deviation with its cause.

    python -m harness paper_scale

One set of constants per machine serves all systems: a roofline over bytes and operations, the link, a stated overhead
per layer. The traces show the models' published statistics. What a paper leaves open is assumed in
`conf/paper_scale.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track

from harness.cli.launch import launch
from harness.config import compose, schema
from harness.config.bench import size_bytes
from harness.predict.forecast import Forecaster, room
from harness.predict.paper_scale.data import Comparison, PaperScaleConfig, Prediction
from harness.records import papers
from harness.records.files import ensure_writable
from harness.records.papers import Reported
from systems.api import BadInput

T = TypeVar("T")


def main() -> int:
    """Predict for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    return launch(_publish, _read, "paper_scale")


def predict(config: PaperScaleConfig) -> Iterator[Prediction]:
    """Predict every number of the chosen comparisons, in the papers' order.

    Raises:
        BadInput: a number names a model, machine, system or memory that the config does not know.
    """
    at: tuple[str, ...] = ()
    for name, comparison in config.chosen().items():
        for one in reported(comparison):
            system = _known("systems", config.systems[name], one.system)
            if (place := (name, one.model, one.machine)) != at:
                at, forecaster = place, _forecaster(config, name, one)  # one at a time: traces are large
            budget = _budget(config, comparison, one, forecaster.draft_bytes(system))
            forecast = forecaster(system, budget)
            cause = next((cause.text for cause in comparison.causes if cause.explains(one)), "")
            metric = comparison.ours or comparison.metric
            yield Prediction(name, one, system.name, forecast, one.system in comparison.fitted, cause, metric)


def _forecaster(config: PaperScaleConfig, name: str, one: Reported) -> Forecaster:
    longest = max(system.drafter.get("draft_length", 1) for system in config.systems[name].values())
    shape, machine = _known("models", config.models, one.model), _known("called", config.machines, one.machine)
    return Forecaster(shape, machine, config.text, longest)


def reported(comparison: Comparison) -> list[Reported]:
    """The numbers of a comparison, less the systems that are left out."""
    found = [
        one
        for one in papers.everything()
        if (one.paper, one.where, one.metric) == (comparison.paper, comparison.where, comparison.metric)
        and one.system not in comparison.left_out
    ]
    if not found:
        raise BadInput(f"results/papers/ has no {comparison.metric} of {comparison.paper}, {comparison.where}")
    return sorted(found, key=lambda one: (one.model, one.machine))


def _budget(config: PaperScaleConfig, comparison: Comparison, one: Reported, draft: int) -> int:
    """Bytes for experts and draft."""
    shape, machine = config.models[one.model], config.machines[one.machine]
    if comparison.budget in ("slots", "levels"):
        if comparison.budget == "slots":
            slots = float(_known("setting", one.settings, "slots_per_layer"))
        else:
            slots = _known("levels", comparison.levels[one.model], one.settings["memory"])
        slots += comparison.more.get(one.system, 0.0) * shape.experts
        return round(slots * shape.moe_layers) * shape.expert_bytes + draft
    memory = int(machine.memory)
    if comparison.budget == "memory":
        memory = size_bytes("memory", _known("setting", one.settings, "memory"))
    return room(shape, memory, size_bytes("reserve", config.reserve))


def _known(what: str, table: Mapping[str, Any], name: str) -> Any:
    if name not in table:
        raise BadInput(f"`{what}` has no {name}; {schema.suggest(name, table)}")
    return table[name]


def _read(composed: dict[str, Any], folders: Sequence[Path], overrides: Sequence[str]) -> PaperScaleConfig:
    values = dict(composed)
    values["machines"] = {name: values["machines"][key] for name, key in values.pop("called").items()}
    values["models"] = {shape["name"]: shape for shape in values["models"].values()}
    values["systems"] = {
        name: compose.listed_systems(found["systems"], folders) for name, found in values["comparisons"].items()
    }
    return schema.parse(PaperScaleConfig, values, "")


def _publish(config: PaperScaleConfig) -> None:
    from harness.predict.paper_scale import report as paper_scale_report

    ensure_writable(Path(config.output))
    total = sum(len(reported(comparison)) for comparison in config.chosen().values())
    found = list(track(predict(config), "predicting", total=total, transient=True))
    paper_scale_report.publish(config, found, Path(config.output), Console())
