"""What `harness.predict.paper_scale.command` leaves behind: tables, summary.json, provenance.json and a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from harness.predict.paper_scale import picture as paper_scale_picture
from harness.predict.paper_scale.data import MISS, NARROW, PaperScaleConfig, Prediction
from harness.records import provenance
from harness.records.files import dump, write_text
from harness.tables import table
from harness.tables.columns import UNKNOWN, Section

SCHEMA = "spmoe-bench/paper-scale/1"
DEFINITIONS = (
    "deviation: predicted over reported TPOT, less one; of hit rates the difference",
    "cause: the likely one, from what is published; no constant was fitted to a time",
    "fitted: the statistics of the trace were fitted to this number, so that it is no prediction; not in the summary",
)


def publish(config: PaperScaleConfig, found: Sequence[Prediction], folder: Path, console: Console) -> None:
    """Write and print everything.

    Raises:
        CannotWrite: it cannot be written.
    """
    panels = dict.fromkeys((one.comparison, one.reported.model) for one in found)
    sections = [_section(config, name, model, found) for name, model in panels]
    texts = [*verdicts(found), *causes(found), *_left_out(config), *DEFINITIONS]
    write_text(folder / "table.md", table.as_markdown(sections, texts))
    write_text(folder / "summary.json", dump(summary(config, found), indent=1))
    write_text(folder / "provenance.json", dump(provenance.scrub(provenance.collect()), indent=1))
    paper_scale_picture.draw(found, folder / "paper-scale.png")
    table.draw(sections, console)
    table.say(texts, console)
    console.print(f"picture: {folder / 'paper-scale.png'}, data: {folder / 'summary.json'}", highlight=False)


def summary(config: PaperScaleConfig, found: Sequence[Prediction]) -> dict[str, Any]:
    """Everything as plain data: the constants, a verdict per comparison, a row per number."""
    names = dict.fromkeys(one.comparison for one in found)
    return {
        "schema": SCHEMA,
        "machines": {name: asdict(machine) for name, machine in config.machines.items()},
        "shapes": {name: asdict(shape) for name, shape in config.models.items()},
        "text": asdict(config.text),
        "comparisons": {name: judged([one for one in found if one.comparison == name]) for name in names},
        "rows": [_row(one) for one in found],
    }


def judged(found: Iterable[Prediction]) -> dict[str, Any]:
    """How well numbers of one comparison were predicted.

    Returns:
        `numbers` that were predicted, the median absolute `deviation`, `missed` by more than `MISS`, `did_not_fit`, and
        of the `pairs` of systems on the same model, machine and setting how many are `in_order`, as reported, and how
        many of these only narrowly (`close`), by less than `NARROW`.
    """
    predicted = [one for one in found if not one.fitted]
    known = [one for one in predicted if one.value is not None]
    pairs = [(a, b) for a, b in combinations(known, 2) if _place(a) == _place(b) and a.target != b.target]
    right = [(a, b) for a, b in pairs if (a.target - b.target) * ((a.value or 0.0) - (b.value or 0.0)) > 0]
    deviations = [abs(one.deviation) for one in known if one.deviation is not None]
    return {
        "numbers": len(known),
        "deviation": median(deviations) if deviations else None,
        "missed": sum(one.missed for one in known),
        "did_not_fit": len(predicted) - len(known),
        "pairs": len(pairs),
        "in_order": len(right),
        "close": sum(_apart(a, b) < NARROW for a, b in right),
    }


def verdicts(found: Sequence[Prediction]) -> list[str]:
    """A sentence per comparison."""
    said = []
    for name in dict.fromkeys(one.comparison for one in found):
        mine = [one for one in found if one.comparison == name]
        facts, points = judged(mine), mine[0].reported.metric == "hit_rate"
        off = UNKNOWN if facts["deviation"] is None else _off(facts["deviation"], points)
        limit = _off(MISS[mine[0].reported.metric], points)
        said.append(
            f"{name}: {facts['numbers']} numbers, median deviation {off}, {facts['missed']} beyond {limit}, "
            f"{facts['did_not_fit']} did not fit; {facts['in_order']} of {facts['pairs']} pairs of systems in the "
            f"paper's order, {facts['close']} of these by less than {_off(NARROW, points)}"
        )
    return said


def _apart(one: Prediction, other: Prediction) -> float:
    """How far two predictions are from each other: ratio of times less one, difference of shares."""
    low, high = sorted((one.value or 0.0, other.value or 0.0))
    return high / low - 1 if one.metric == "tpot" else high - low


def causes(found: Sequence[Prediction]) -> list[str]:
    """The likely causes of deviations, each once, under the marks that the tables refer to."""
    return [f"[{mark}] {text}" for text, mark in _marks(found).items()]


def _marks(found: Sequence[Prediction]) -> dict[str, int]:
    texts = dict.fromkeys(one.cause for one in found if one.missed and one.cause)
    return {text: number for number, text in enumerate(texts, 1)}


def _left_out(config: PaperScaleConfig) -> list[str]:
    return [
        f"{name}: {system} is left out: it {why}"
        for name, comparison in config.chosen().items()
        for system, why in comparison.left_out.items()
    ]


def _section(config: PaperScaleConfig, name: str, model: str, found: Sequence[Prediction]) -> Section:
    comparison, marks = config.comparisons[name], _marks(found)
    unit = "ms" if comparison.metric == "tpot" else "%"
    headings = ("system", "ours", "where", f"reported {unit}", f"predicted {unit}", "deviation", "cause")
    lines = [_line(one, marks) for one in found if (one.comparison, one.reported.model) == (name, model)]
    metric = next((one.metric for one in found if one.comparison == name), comparison.metric)
    title = f"{name}: {metric} of {model} (arXiv {comparison.paper}, {comparison.where})"
    return Section(title, headings, (), lines, len(lines))


def _line(one: Prediction, marks: dict[str, int]) -> tuple[str, ...]:
    points = one.reported.metric == "hit_rate"
    scale, digits = (100, 1) if points else (1e3, 0)
    value = "did not fit" if one.value is None else f"{one.value * scale:.{digits}f}"
    off = UNKNOWN if one.deviation is None else f"{'+' if one.deviation > 0 else '-'}{_off(abs(one.deviation), points)}"
    mark = f"[{marks[one.cause]}]" if one.missed and one.cause else ""
    return (
        one.reported.system, one.system, _where(one), f"{one.target * scale:.{digits}f}", value, off,
        "fitted" if one.fitted else mark,
    )  # fmt: skip


def _where(one: Prediction) -> str:
    """The row's memory and slots, or else its machine."""
    settings = one.reported.settings
    said = [
        f"{settings[name]}{unit}" for name, unit in (("memory", ""), ("slots_per_layer", " slots")) if name in settings
    ]
    return ", ".join(said) or one.reported.machine.removesuffix(" PCIe4")


def _off(share: float, points: bool) -> str:
    return f"{share * 100:.1f} points" if points else f"{share:.0%}"


def _row(one: Prediction) -> dict[str, Any]:
    facts = asdict(one.reported)
    kept = ("paper", "where", "machine", "model", "setting", "metric", "note")
    return {
        "comparison": one.comparison,
        "system": one.reported.system,
        "replayed_as": one.system,
        "predicted_metric": one.metric,
        **{name: facts[name] for name in kept},
        "reported": one.target,
        "predicted": one.value,
        "deviation": one.deviation,
        "fitted": one.fitted,
        "cause": one.cause if one.missed else "",
        **{name: value for name, value in asdict(one.forecast).items() if name != one.metric},
    }


def _place(one: Prediction) -> tuple[str, ...]:
    """What systems are ordered within."""
    settings = {name: value for name, value in one.reported.settings.items() if name != "slots_per_layer"}
    return one.comparison, one.reported.model, one.reported.machine, str(settings)
