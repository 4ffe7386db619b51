"""From the records of a run to a verdict per system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.records.lines import RequestLine, read_requests
from harness.records.published import read
from harness.records.summary_file import FILE
from harness.verdict.margins import Divergence, divergence
from systems import api
from systems.api import BadInput, ModelPair


@dataclass(frozen=True)
class Cell:
    """The outputs of one system, as recorded: those with a reference, and of them those that left it."""

    system: str
    lossless: bool
    outputs: int
    diverged: list[RequestLine]


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
        """`exact`, `ties`, `bug`; `reference` where that is what errs; `lossy` for a system that may change outputs;
        `unknown` without a reference."""
        if not self.cell.outputs:
            return "unknown"
        if not self.divergences:
            return "exact"
        if not self.cell.lossless:
            return "lossy"
        beyond = [found for found in self.divergences if not found.is_tie(self.dtype)]
        if any(not found.took_the_best for found in beyond):
            return "bug"
        return "reference" if beyond else "ties"

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
    summaries = sorted(folder.glob(f"*/{FILE}"))
    if not summaries:
        raise BadInput(f"{folder} holds no finished cells; give the folder of a run, `results/runs/KEY`")
    return [_cell(summary) for summary in summaries]


def _cell(summary: Path) -> Cell:
    (row,) = read(summary, "", "the command that made the run").rows
    judged = [line for line in read_requests(summary.parent) if line.exact_match is not None]
    return Cell(row["system"], row["lossless"], len(judged), [line for line in judged if not line.exact_match])


def judge(cells: Sequence[Cell], pair: ModelPair, prompts: Mapping[str, Sequence[int]], dtype: str) -> list[Finding]:
    """Score every divergence of a run; a text that several outputs share is scored once.

    Raises:
        BadInput: a prompt of the records is not in the dataset.
    """
    if missing := {line.id for cell in cells for line in cell.diverged} - prompts.keys():
        raise BadInput(f"the dataset no longer holds {', '.join(sorted(missing))}; restore what the run was made with")
    texts = {(line.id, _before(line)): None for cell in cells for line in cell.diverged}
    scored = api.next_logits(pair, [(*prompts[id], *tokens) for id, tokens in texts]) if texts else []
    logits = dict(zip(texts, scored, strict=True))
    return [
        Finding(cell, dtype, [_divergence(line, logits[line.id, _before(line)]) for line in cell.diverged])
        for cell in cells
    ]


def _before(line: RequestLine) -> tuple[int, ...]:
    return tuple(line.tokens[: line.first_divergence])


def _divergence(line: RequestLine, logits: Sequence[float]) -> Divergence:
    position = line.first_divergence
    assert position is not None, "only outputs that left the reference are asked about"
    token = line.tokens[position] if position < len(line.tokens) else None
    return divergence(line.id, line.repeat, position, token, logits)
