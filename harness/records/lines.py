"""The lines of a cell's records, with types: one per request (`requests.jsonl`) and one per step (`steps.jsonl`).

Both are written from a `Generation`, and read back into one, so that whatever is computed from records on disk is
computed by the formula that was used live.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from harness.records.files import read_lines
from harness.records.generation import (
    BYTES,
    COUNTS,
    NEEDS,
    Commit,
    Generation,
    Report,
    Row,
    Step,
    first_divergence,
    merge,
    needs,
)
from systems.api import BadInput, LayerNeeds, Request, Traffic

Line = TypeVar("Line", "RequestLine", "StepLine")
OF_STEPS = ("rows", "drafted", "accepted", "seconds", "spans")
"""Fields that a report outside of steps lacks."""


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request of one generation.

    Attributes:
        id: of the prompt.
        row: within the batch; `order` is the turn of the system in the interleaved run.
        n: tokens of the output; `decode_tokens` of them are behind the first commit and took `decode_seconds`.
        ttft: seconds from the start of the batch to the first commit; None where nothing was committed.
        drafted, accepted: without what lies behind the output's end.
        handed: tokens that the system committed, those behind the output's end too.
        exact_match: whether the output is that of plain greedy decoding, which it leaves at `first_divergence`; None
            without a reference.
        commits: seconds since the start of the batch, and how many tokens were kept then.
    """

    id: str
    repeat: int
    batch: int
    row: int = 0
    order: int = 0
    seed: int | None = None
    prompt_tokens: int = 0
    n: int = 0
    ttft: float | None = None
    decode_tokens: int = 0
    decode_seconds: float = 0.0
    finish: str = "length"
    drafted: int = 0
    accepted: int = 0
    handed: int | None = None
    exact_match: bool | None = None
    first_divergence: int | None = None
    commits: Sequence[Sequence[float]] = ()
    tokens: Sequence[int] = ()
    text: str = ""

    def as_row(self) -> Row:
        """Return the request's side of its generation, times counted from the start of the batch."""
        commits = [Commit(round(seconds * 1e9), int(kept)) for seconds, kept in self.commits]
        handed = self.n if self.handed is None else self.handed
        return Row(self.id, list(self.tokens), commits, handed, self.finish == "stop")


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of one generation, with the traffic that was reported during it.

    A line without `rows` holds what was reported outside of steps: of prefills (`step` 0), or what settles the account
    at the end (no `step`). The fields of experts and bytes are those of `systems.api.Traffic`, summed over layers.
    """

    repeat: int
    batch: int
    phase: str
    step: int | None = None
    rows: Sequence[int] | None = None
    drafted: Sequence[int] = ()
    accepted: Sequence[int] = ()
    seconds: float | None = None
    spans: Mapping[str, float] = field(default_factory=dict)
    needed: int = 0
    resident: int = 0
    on_time: int = 0
    late: int = 0
    demand: int = 0
    elsewhere: int = 0
    covered: int = 0
    foretold: int = 0
    moved_bytes: int = 0
    demand_bytes: int = 0
    useful_bytes: int = 0
    late_bytes: int = 0
    wasted_bytes: int = 0
    written_back_bytes: int = 0
    prefetched: int = 0
    cancelled: int = 0
    evictions: int = 0
    link_busy: float = 0.0
    layers: Sequence[Sequence[int]] = ()

    @property
    def is_step(self) -> bool:
        """Whether it is a step, and not what was reported outside of steps."""
        return self.rows is not None

    def as_traffic(self) -> Traffic:
        """Return what was reported."""
        counts = {name: getattr(self, name) for name in (*BYTES, *COUNTS, "link_busy")}
        layers = [
            LayerNeeds(**dict(zip(NEEDS, layer, strict=False))) for layer in self.layers
        ]  # an older one is shorter
        return Traffic("decode" if self.phase == "decode" else "prefill", layers, **counts)

    def as_step(self) -> Step:
        """Return the step itself."""
        spans: Any = dict(self.spans)
        rows = tuple(self.rows or ())
        return Step(rows, tuple(self.drafted), tuple(self.accepted), self.seconds or 0.0, spans)


def request_lines(
    generation: Generation,
    requests: Sequence[Request],
    reference: Mapping[str, Sequence[int]] | None,
    decode: Callable[[Sequence[int], Sequence[int]], str],
) -> list[RequestLine]:
    """Return one line per request: its tokens, when they came, and whether they are the reference's."""
    lines: list[RequestLine] = []
    for index, (row, request) in enumerate(zip(generation.rows, requests, strict=True)):
        drafts = [(drafted, accepted) for i, drafted, accepted in generation.accepted_by_row() if i == index]
        divergence = None if reference is None else first_divergence(row.tokens, reference[row.id])
        lines.append(
            RequestLine(
                id=row.id,
                repeat=generation.repeat,
                batch=generation.batch,
                row=index,
                order=generation.order,
                seed=request.sampling.seed if request.sampling.temperature else None,
                prompt_tokens=len(request.prompt),
                n=len(row.tokens),
                ttft=(row.commits[0].time - generation.started) / 1e9 if row.commits else None,
                decode_tokens=row.decode_tokens,
                decode_seconds=row.decode_time / 1e9,
                finish="stop" if row.stopped else "length",
                drafted=sum(drafted for drafted, _ in drafts),
                accepted=sum(accepted for _, accepted in drafts),
                handed=row.handed,
                exact_match=None if reference is None else divergence is None,
                first_divergence=divergence,
                commits=[[(commit.time - generation.started) / 1e9, commit.kept] for commit in row.commits],
                tokens=row.tokens,
                text=decode(row.tokens, request.prompt),
            )
        )
    return lines


def step_lines(generation: Generation) -> Iterator[StepLine]:
    """Yield one line per step with the traffic reported during it, then what was reported outside of steps."""
    head: dict[str, Any] = {"repeat": generation.repeat, "batch": generation.batch}
    for index, step in enumerate(generation.steps):
        traffic = [r.traffic for r in generation.reports if r.steps == index and r.traffic.phase == "decode"]
        yield StepLine(**head, phase="decode", step=index, **step._asdict(), **_counted(traffic))
    for report in generation.reports:
        if report.traffic.phase == "prefill" or report.steps >= len(generation.steps):
            step_of = None if report.traffic.phase == "decode" else 0
            yield StepLine(**head, phase=report.traffic.phase, step=step_of, **_counted([report.traffic]))


def plain(line: RequestLine | StepLine) -> dict[str, Any]:
    """Return a line as it is written; a report outside of steps has nothing that only steps have."""
    left_out = OF_STEPS if isinstance(line, StepLine) and not line.is_step else ()
    return {item.name: getattr(line, item.name) for item in fields(line) if item.name not in left_out}


def read_requests(folder: Path) -> list[RequestLine]:
    """Read the requests of a cell; see `_read`."""
    return _read(RequestLine, folder / "requests.jsonl")


def read_steps(folder: Path) -> list[StepLine]:
    """Read the steps of a cell; see `_read`."""
    return _read(StepLine, folder / "steps.jsonl")


def generations(requests: Iterable[RequestLine], steps: Iterable[StepLine]) -> list[Generation]:
    """Return the generations that lines were written from, in the order of their repeat and batch.

    Spans between first and last commit are not in the lines: `window` is empty. Times count from each batch's start.
    """
    rows: dict[tuple[int, int], dict[int, RequestLine]] = defaultdict(dict)
    for line in requests:
        rows[line.repeat, line.batch][line.row] = line
    reported: dict[tuple[int, int], list[StepLine]] = defaultdict(list)
    for step in steps:
        reported[step.repeat, step.batch].append(step)
    return [_generation(place, list(rows[place].values()), reported[place]) for place in sorted(rows)]


def not_finite(lines: Iterable[RequestLine | StepLine]) -> dict[str, int]:
    """Count the lines in which a field is no finite number, by field."""
    counts: dict[str, int] = defaultdict(int)
    for line in lines:
        for item in fields(line):
            value = getattr(line, item.name)
            if isinstance(value, float) and not math.isfinite(value):
                counts[item.name] += 1
    return counts


def _generation(place: tuple[int, int], requests: Sequence[RequestLine], lines: Sequence[StepLine]) -> Generation:
    steps = [line for line in lines if line.is_step]
    inside = [Report(number, line.as_traffic()) for number, line in enumerate(steps)]
    outside = [Report(0 if line.step == 0 else len(steps), line.as_traffic()) for line in lines if not line.is_step]
    rows = [line.as_row() for line in sorted(requests, key=lambda line: line.row)]
    taken = [line.as_step() for line in steps]
    return Generation(*place, order=requests[0].order, started=0, rows=rows, steps=taken, reports=inside + outside)


def _counted(reports: Sequence[Traffic]) -> dict[str, Any]:
    total = merge(reports)
    layers = [[getattr(layer, name) for name in NEEDS] for layer in total.layers]
    counts = {name: getattr(total, name) for name in (*BYTES, *COUNTS, "link_busy")}
    return {**needs(total), **counts, "layers": layers}


def _read(kind: type[Line], path: Path) -> list[Line]:
    """Read a file of lines; fields that another version wrote are left out, those that it lacked have their default.

    Raises:
        BadInput: the file is not whole, or a line lacks what no line can do without.
    """
    known = {item.name for item in fields(kind)}
    lines: list[Line] = []
    for number, values in enumerate(read_lines(path), 1):
        try:
            lines.append(kind(**{name: value for name, value in values.items() if name in known}))
        except TypeError as error:
            raise BadInput(f"{path}, line {number}: {error}; measure again") from error
    return lines
