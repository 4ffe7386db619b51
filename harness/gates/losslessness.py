"""Are the outputs that left plain greedy decoding ties of rounding, or bugs?

    python -m harness losslessness results/runs/KEY

Reads the records of a run, asks the target for its logits where each output left its reference, prints a line per
system and writes `losslessness.json` beside the records. Exits with 1 where a lossless system has a bug, or where the
reference has: an output that took what stock transformers rates best is right, and the reference is not.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from harness import datasets
from harness.cli.launch import FAILURE, OK, typed
from harness.config import schema
from harness.config.bench import DatasetConfig, MeasureConfig
from harness.gates.lossless_findings import Finding, judge, read_cells
from harness.records.files import dump, write_text
from harness.records.provenance import ROOT, restored
from harness.tables import table
from harness.tables.columns import UNKNOWN, Section
from harness.verdict.margins import TOLERANCE
from systems import api
from systems.api import ModelConfig

SCHEMA = "spmoe-bench/losslessness/1"
HEADINGS = ("system", "outputs", "exact", "first at", "margin", "ties", "beyond", "verdict")
KINDS: dict[str, Any] = {"model": ModelConfig, "dataset": DatasetConfig, "measure": MeasureConfig}
"""The parts of a config that outputs are judged with."""
PATHS = ("target", "draft", "tokenizer", "root", "path", "cache_dir")


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the content of `losslessness.json`."""
    dtype = findings[0].dtype
    rows = [finding.plain() for finding in findings]
    return {"schema": SCHEMA, "dtype": dtype, "tolerance": TOLERANCE[dtype], "rows": rows}


def section(findings: Sequence[Finding]) -> Section:
    """Return the table, a line per system."""
    ordered = sorted(findings, key=lambda finding: not finding.cell.lossless)
    lossless = sum(finding.cell.lossless for finding in findings)
    return Section("Losslessness", HEADINGS, (), [_line(finding) for finding in ordered], lossless)


def _line(finding: Finding) -> tuple[str, ...]:
    cell, found = finding.cell, finding.divergences
    exact = f"{1 - len(found) / cell.outputs:.3f}" if cell.outputs else UNKNOWN
    positions = _spread([float(item.position) for item in found], ".0f")
    margins = _spread([item.margin for item in found], ".3g")
    counts = (str(finding.ties), str(len(found) - finding.ties))
    return (cell.system, str(cell.outputs), exact, positions, margins, *counts, finding.verdict)


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return UNKNOWN
    return "{:{f}} [{:{f}}, {:{f}}]".format(statistics.median(values), min(values), max(values), f=form)


def run(folder: Path) -> list[Finding]:
    """Judge a run from its records; the model and the dataset are those of its config.

    Raises:
        BadInput: no records, or model or dataset are not what they were.
    """
    from omegaconf import OmegaConf

    cells = read_cells(folder)
    plain: Any = OmegaConf.to_container(OmegaConf.load(folder / cells[0].system / "config.yaml"))
    model, dataset, measure = (schema.parse(kind, _here(plain[name]), name) for name, kind in KINDS.items())
    pair = api.load_pair(model, ROOT)
    try:
        selection = datasets.select(datasets.load(dataset), pair, dataset, measure)
        prompts = {request.id: request.prompt for request in selection.requests}
        return judge(cells, pair, prompts, model.dtype)
    finally:
        pair.close()


def _here(values: Mapping[str, Any]) -> dict[str, Any]:
    """Undo what records do to paths, see `provenance.restored`."""
    return {name: restored(value) if name in PATHS and value else value for name, value in values.items()}


def main() -> int:
    """Command line; 0, 1 for a bug, 2 when there is nothing to judge."""
    return typed(_main)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run, results/runs/KEY")
    folder = parser.parse_args().run
    findings = run(folder)
    write_text(folder / "losslessness.json", dump(facts := report(findings), indent=1))
    table.draw([section(findings)], console := Console())
    table.say(
        [
            "first at, margin: position where an output left, and the target's best logit there less its second; "
            "median [least, most]",
            f"{facts['dtype']}: up to {facts['tolerance']:g} it is a tie of rounding",
            f"every divergence: {folder / 'losslessness.json'}",
        ],
        console,
    )
    if wrong := [finding.cell.system for finding in findings if finding.verdict == "reference"]:
        text = (
            f"reference: {', '.join(wrong)} took what stock transformers rates best, and plain greedy decoding here did"
        )
        table.say([f"{text} not: the reference is wrong, and so is every system that equals it"], console)
    return FAILURE if any(finding.verdict in ("bug", "reference") for finding in findings) else OK
