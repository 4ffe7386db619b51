"""One system's records as other tools think of them: requests with a start, tokens that arrive, and drafts per step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.gates import sets
from harness.records.cells import stored_origin
from harness.records.lines import RequestLine, StepLine, read_requests, read_steps
from harness.records.published import read as read_summary
from harness.records.summary_file import FILE, Row
from systems.api import BadInput

REMEDY = "the command that made the run, e.g. results/runs/KEY"


@dataclass(frozen=True)
class Request:
    """A request that emitted tokens.

    Attributes:
        start: seconds on a clock that begins with the system's first request; what other systems took meanwhile is left
            out.
        arrivals: seconds from the start and number of tokens, of each commit.
        steps: (drafted, accepted) of each draft-verify cycle, as the system reported them; empty where it reports none.
    """

    id: str
    repeat: int
    start: float
    prompt_tokens: int
    arrivals: Sequence[tuple[float, int]]
    steps: Sequence[tuple[int, int]]
    finish: str
    text: str
    tokens: Sequence[int]

    @property
    def n(self) -> int:
        """Output tokens."""
        return sum(kept for _, kept in self.arrivals)

    @property
    def ttft(self) -> float:
        """Seconds to the first commit."""
        return self.arrivals[0][0]

    @property
    def latency(self) -> float:
        """Seconds to the last commit."""
        return self.arrivals[-1][0]

    @property
    def gaps(self) -> list[float]:
        """Seconds between commits."""
        times = [at for at, _ in self.arrivals]
        return [after - before for before, after in pairwise(times)]


@dataclass(frozen=True)
class System:
    """A system with its row of the summary, its provenance and its requests in the order they were decoded.

    Attributes:
        seconds: how long the system decoded, over all batches.
        silent: ids of requests that emitted nothing.
    """

    row: Row
    origin: Mapping[str, Any]
    requests: Sequence[Request]
    seconds: float
    silent: Sequence[str] = field(default=())

    @property
    def label(self) -> str:
        """The system's label."""
        name: str = self.row["system"]
        return name

    @property
    def steps(self) -> list[tuple[int, int]]:
        """(drafted, accepted) of all cycles that drafted."""
        return [step for request in self.requests for step in request.steps if step[0]]


def read(folder: Path) -> list[System]:
    """Read a result set: `results/runs/KEY`, or a published folder whose cells are still in `runs/` beside it.

    Raises:
        BadInput: no such set, or one that is unfinished or without records by request.
    """
    summary = read_summary(folder / FILE, "", REMEDY)
    try:
        homes = [(row, sets.home(folder, summary.key, row["system"])) for row in summary.rows]
        return [system(row, home) for row, home in homes]
    except sets.CannotCompare as error:
        raise BadInput(str(error).replace("compare results/runs/KEY", "export results/runs/KEY")) from error


def system(row: Row, home: Path) -> System:
    """Read the cell of a system."""
    lines = read_requests(home)
    steps = _steps(read_steps(home))
    starts, seconds = _starts(lines)
    requests = [_request(line, starts[_place(line)], steps[(*_place(line), line.row)]) for line in lines]
    spoken = [request for request in requests if request.arrivals]
    silent = [request.id for request in requests if not request.arrivals]
    return System(row, stored_origin(home), spoken, seconds, silent)


def _request(line: RequestLine, start: float, steps: Sequence[tuple[int, int]]) -> Request:
    return Request(
        line.id, line.repeat, start, line.prompt_tokens, [(at, int(kept)) for at, kept in line.commits], steps,
        line.finish, line.text, line.tokens,
    )  # fmt: skip


def _place(line: RequestLine | StepLine) -> tuple[int, int]:
    return line.repeat, line.batch


def _starts(lines: Sequence[RequestLine]) -> tuple[dict[tuple[int, int], float], float]:
    """Return when each generation began, one behind the other, and when the last one ended."""
    ends: dict[tuple[int, int], float] = {}
    for line in lines:
        last = line.commits[-1][0] if line.commits else 0.0
        ends[_place(line)] = max(ends.get(_place(line), 0.0), last)
    starts, now = {}, 0.0
    for place, seconds in ends.items():
        starts[place] = now
        now += seconds
    return starts, now


def _steps(lines: Sequence[StepLine]) -> dict[tuple[int, int, int], list[tuple[int, int]]]:
    cycles: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
    for line in lines:
        if line.rows is not None:
            for row, drafted, accepted in zip(line.rows, line.drafted, line.accepted, strict=True):
                cycles[(*_place(line), row)].append((drafted, accepted))
    return cycles
