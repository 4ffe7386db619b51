"""What a cell's records say of its iterations while its batch was nearly whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev

from harness.records.cells import stored_origin
from harness.records.lines import RequestLine, StepLine, read_requests, read_steps
from systems.api import BadInput, padded

STAYING = 7 / 8
"""Of the rows; iterations in which fewer are left are those of another batch."""


@dataclass(frozen=True, slots=True)
class Iterations:
    """Iterations behind the first one of a batch, with most of its rows; times are medians in seconds.

    The first one is none of them: nothing is in the slots but what prompts left there, and the draft has nothing to
    catch up with.

    Attributes:
        seconds, draft, target, link: all of it, its draft, its verification with waits, the link's busy time.
        moved: experts that crossed the link, on average.
        accepted: drafts accepted, per row and step.
        throughput: tokens per second.
        rows: that took part, on average.
        prefix: mean positions of a row before the drafted ones.
        padding: positions that the draft reads for each of them; see `systems.api.padded`.
        steps: how many there are.
        spread: standard deviation over mean of the batches' own medians of `seconds`; None of fewer than two.
    """

    seconds: float
    draft: float
    target: float
    link: float
    moved: float
    accepted: list[int]
    throughput: float
    rows: float
    prefix: float
    padding: float
    steps: int
    spread: float | None


def read_iterations(folder: Path, first: bool, split: int) -> Iterations:
    """Read a finished cell: its first batch, or all others; drafts divide the batch into `split` parts.

    Raises:
        BadInput: no such batch, or none of its steps counts.
    """
    requests = [line for line in read_requests(folder) if (line.batch == 0) == first]
    steps = [step for step in read_steps(folder) if step.is_step and (step.batch == 0) == first]
    most = max((len(step.rows or ()) for step in steps), default=0)
    prefixes = _prefixes(requests, steps)
    counted = [i for i, step in enumerate(steps) if step.step and len(step.rows or ()) >= STAYING * most]
    if not counted:
        raise BadInput(
            f"{folder.name} has no step but the first with most rows; raise `dataset.limit` or `measure.max_new_tokens`"
        )
    found = [steps[i] for i in counted]
    gained = sum(len(step.rows or ()) + sum(step.accepted) for step in found)
    spans = [step.spans for step in found]
    record = stored_origin(folder)["model"]["record_bytes"]
    return Iterations(
        seconds=median((step.seconds or 0.0) for step in found),
        draft=median(span["draft"] for span in spans),
        target=median(span["verify"] + span["transfer"] for span in spans),
        link=median(step.link_busy for step in found),
        moved=mean(step.moved_bytes for step in found) / record,
        accepted=[count for step in found for count in step.accepted],
        throughput=gained / sum((step.seconds or 0.0) for step in found),
        rows=mean(len(step.rows or ()) for step in found),
        prefix=mean(mean(prefixes[i]) for i in counted),
        padding=mean(padded(prefixes[i], split) / sum(prefixes[i]) for i in counted),
        steps=len(found),
        spread=_spread(found),
    )


def _prefixes(requests: Sequence[RequestLine], steps: Sequence[StepLine]) -> list[list[int]]:
    """Positions of each row before the drafted ones, step by step."""
    read = {(line.repeat, line.batch, line.row): line.prompt_tokens for line in requests}
    found = []
    for step in steps:
        places = [(step.repeat, step.batch, row) for row in step.rows or ()]
        found.append([read[place] for place in places])
        for place, accepted in zip(places, step.accepted, strict=True):
            read[place] += accepted + 1
    return found


def _spread(steps: Sequence[StepLine]) -> float | None:
    batches = {(step.repeat, step.batch) for step in steps}
    medians = [
        median((step.seconds or 0.0) for step in steps if (step.repeat, step.batch) == batch) for batch in batches
    ]
    return stdev(medians) / mean(medians) if len(medians) > 1 else None
