"""Are the outputs that left plain greedy decoding ties of rounding, or bugs?

    python -m harness.losslessness results/runs/KEY

Reads the records of a run, asks the target for its logits where each output left its reference, prints a line per
system and writes `losslessness.json` beside the records. Exits with 1 where a lossless system has a bug.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from harness import datasets, schema, table
from harness.columns import UNKNOWN, Section
from harness.config import DatasetConfig, MeasureConfig
from harness.files import dump, write_text
from harness.margins import TOLERANCE, Divergence, divergence
from harness.provenance import ROOT
from systems import api
from systems.api import BadInput, ModelConfig, ModelPair

SCHEMA = "spmoe-bench/losslessness/1"
HEADINGS = ("system", "outputs", "exact", "first at", "margin", "ties", "beyond", "verdict")


@dataclass(frozen=True)
class Cell:
    """The outputs of one system, as recorded: those with a reference, and of them those that left it."""

    system: str
    lossless: bool
    outputs: int
    diverged: list[dict[str, Any]]


@dataclass(frozen=True)
class Finding:
    """What became of one system's outputs."""

    cell: Cell
    dtype: str
    divergences: list[Divergence]

    @property
    def ties(self) -> int:
        """Divergences that rounding explains."""
        return sum(found.is_tie(self.dtype) for found in self.divergences)

    @property
    def verdict(self) -> str:
        """`exact`, `ties`, `bug`; `lossy` for a system that may change outputs; `unknown` without a reference."""
        if not self.cell.outputs:
            return "unknown"
        if not self.divergences:
            return "exact"
        if not self.cell.lossless:
            return "lossy"
        return "ties" if self.ties == len(self.divergences) else "bug"

    def plain(self) -> dict[str, Any]:
        """Everything as plain data."""
        outputs, missed = self.cell.outputs, len(self.divergences)
        return {
            "system": self.cell.system,
            "lossless": self.cell.lossless,
            "outputs": outputs,
            "exact_match": 1 - missed / outputs if outputs else None,
            "verdict": self.verdict,
            "divergences": [{**asdict(found), "tie": found.is_tie(self.dtype)} for found in self.divergences],
        }


def read_cells(folder: Path) -> list[Cell]:
    """Return the cells of a run.

    Raises:
        BadInput: the folder holds none that is finished.
    """
    summaries = sorted(folder.glob("*/summary.json"))
    if not summaries:
        raise BadInput(f"{folder} holds no finished cells; give the folder of a run, `results/runs/KEY`")
    return [_cell(summary) for summary in summaries]


def _cell(summary: Path) -> Cell:
    row = json.loads(summary.read_text(encoding="utf-8"))["rows"][0]
    lines = summary.with_name("requests.jsonl").read_text(encoding="utf-8").splitlines()
    judged = [line for text in lines if (line := json.loads(text))["exact_match"] is not None]
    return Cell(row["system"], row["lossless"], len(judged), [line for line in judged if not line["exact_match"]])


def judge(cells: Sequence[Cell], pair: ModelPair, prompts: Mapping[str, Sequence[int]], dtype: str) -> list[Finding]:
    """Score every divergence of a run; a text that several outputs share is scored once.

    Raises:
        BadInput: a prompt of the records is not in the dataset.
    """
    if missing := {line["id"] for cell in cells for line in cell.diverged} - prompts.keys():
        raise BadInput(f"the dataset no longer holds {', '.join(sorted(missing))}; restore what the run was made with")
    texts = {(line["id"], _before(line)): None for cell in cells for line in cell.diverged}
    scored = api.next_logits(pair, [(*prompts[id], *tokens) for id, tokens in texts]) if texts else []
    logits = dict(zip(texts, scored, strict=True))
    return [
        Finding(cell, dtype, [_divergence(line, logits[line["id"], _before(line)]) for line in cell.diverged])
        for cell in cells
    ]


def _before(line: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(line["tokens"][: line["first_divergence"]])


def _divergence(line: Mapping[str, Any], logits: Sequence[float]) -> Divergence:
    position, tokens = line["first_divergence"], line["tokens"]
    token = tokens[position] if position < len(tokens) else None
    return divergence(line["id"], line["repeat"], position, token, logits)


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
    parsed = (schema.parse(kind, plain[name], name) for name, kind in KINDS.items())
    model, dataset, measure = parsed
    pair = api.load_pair(model, ROOT)
    try:
        selection = datasets.select(datasets.load(dataset), pair, dataset, measure)
        prompts = {request.id: request.prompt for request in selection.requests}
        return judge(cells, pair, prompts, model.dtype)
    finally:
        pair.close()


KINDS: dict[str, Any] = {"model": ModelConfig, "dataset": DatasetConfig, "measure": MeasureConfig}


def main() -> int:
    """Command line; exits with 2 when there is nothing to judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run, results/runs/KEY")
    folder = parser.parse_args().run
    try:
        findings = run(folder)
    except BadInput as error:
        parser.error(str(error))
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
    return 1 if any(finding.verdict == "bug" for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
