"""What a cell's records say of its iterations while its batch was whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from harness.files import read_lines
from systems.api import BadInput


@dataclass(frozen=True, slots=True)
class Iterations:
    """Steps in which no row had left; medians in seconds per step.

    Attributes:
        seconds, draft, target, link: the whole step, its draft, its verification with waits, the link's busy time.
        moved: experts that crossed the link per step.
        accepted: drafts accepted, per row and step.
        throughput: tokens per second.
        prefix: mean positions of a row before the drafted ones.
        steps: how many there are.
    """

    seconds: float
    draft: float
    target: float
    link: float
    moved: float
    accepted: list[int]
    throughput: float
    prefix: float
    steps: int


def read_iterations(folder: Path, first: bool) -> Iterations:
    """Read a finished cell: its first batch, or all others.

    Raises:
        BadInput: no such batch, or none of its steps was whole.
    """
    batches = [line for line in read_lines(folder / "requests.jsonl") if (line["batch"] == 0) == first]
    steps = [
        step
        for step in read_lines(folder / "steps.jsonl")
        if step["phase"] == "decode" and step.get("seconds") is not None and (step["batch"] == 0) == first
    ]
    most = max((len(step["rows"]) for step in steps), default=0)
    whole = [step for step in steps if len(step["rows"]) == most]
    if not whole:
        raise BadInput(f"{folder.name} has no step with all rows; raise `dataset.limit` or `measure.max_new_tokens`")
    gained = sum(len(step["rows"]) + sum(step["accepted"]) for step in whole)
    spans = [step["spans"] for step in whole]
    record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["model"]["record_bytes"]
    done = max(step["step"] for step in whole) + 1
    return Iterations(
        seconds=median(step["seconds"] for step in whole),
        draft=median(span["draft"] for span in spans),
        target=median(span["verify"] + span["transfer"] for span in spans),
        link=median(step["link_busy"] for step in whole),
        moved=mean(step["moved_bytes"] for step in whole) / record,
        accepted=[count for step in whole for count in step["accepted"]],
        throughput=gained / sum(step["seconds"] for step in whole),
        prefix=mean(line["prompt_tokens"] for line in batches) + gained / len(whole) / most * done / 2,
        steps=len(whole),
    )
