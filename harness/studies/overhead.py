"""What measuring costs: the same loop with the recording meter and with one that does nothing.

    python -m harness overhead systems=[offload,sp_moe] dataset.limit=8 measure.repeats=2

Generations differ by more than measuring can cost, so the two meters take turns at every step, at random, and each
generation is repeated with the turns swapped: every step is timed once either way, on the same tokens.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from harness import datasets
from harness.cli.launch import launch
from harness.config import compose
from harness.config.bench import BenchConfig
from harness.measure.contender import Contender, frozen, undisturbed
from harness.measure.meter import Clock, RecordingMeter
from harness.measure.session import Batches, Session, opened, split
from harness.metrics.intervals import Interval, Pair, paired_interval
from harness.records.files import dump, ensure_writable, write_text
from systems import api
from systems.api import Meter, NullMeter, Request, SpanName, Traffic

DEFINITION = "time per step with the recording meter / with a no-op meter, on the same steps, taking turns"


def main() -> int:
    """Print the ratio of step times, recording : nothing, of each configured system; return the exit code."""
    return launch(_report, compose.bench_config)


class AlternatingMeter:
    """Records some steps and not the others, and times both kinds.

    The no-op meter decides completion throughout, so a recorded step pays for both: the cost is never understated.

    Args:
        turns: draws whether the next step is recorded.
        swapped: exchange recorded steps and others.
    """

    def __init__(
        self,
        recording: RecordingMeter,
        nothing: NullMeter,
        turns: random.Random,
        swapped: bool,
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        self._recording, self._nothing, self._clock = recording, nothing, clock
        self._turns, self._swapped = turns, swapped
        self._now: Meter = nothing
        self._since: int | None = None  # the prefill is no step
        self.recorded: list[int] = []
        self.unrecorded: list[int] = []

    def span(self, name: SpanName) -> AbstractContextManager[None]:
        """Return the span of the meter whose turn it is."""
        return self._now.span(name)

    def attribute(self, name: SpanName, seconds: float) -> None:
        """Hand on to the meter whose turn it is."""
        self._now.attribute(name, seconds)

    def commit(self, row: int, tokens: Sequence[int]) -> bool:
        """Count with both meters in a recorded step."""
        if self._now is self._recording:
            self._recording.commit(row, tokens)
        return self._nothing.commit(row, tokens)

    def left(self, row: int) -> int:
        """As the meter says that counts in every step."""
        return self._nothing.left(row)

    def traffic(self, traffic: Traffic) -> None:
        """Hand on to the meter whose turn it is."""
        self._now.traffic(traffic)

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        """Time the step under the meter that had it, and draw the next turn."""
        self._now.step(rows, drafted, accepted)
        now = self._clock()
        if self._since is not None:
            times = self.recorded if self._now is self._recording else self.unrecorded
            times.append(now - self._since)
        record = self._turns.random() < 0.5
        self._now = self._recording if record != self._swapped else self._nothing
        self._since = self._clock()


def ratio(system: api.System, pair: api.ModelPair, batches: Batches, repeats: int, seed: int) -> Interval | None:
    """Return step time with measuring / without, and its interval over batches; None if no steps are reported."""
    sides: tuple[list[Pair], list[Pair]] = ([], [])
    for index, requests in enumerate(batches):
        recorded, unrecorded = list[int](), list[int]()
        for repeat in range(repeats):
            for swapped in (False, True):
                meter = _generate(system, pair, requests, random.Random(f"{seed}/{index}/{repeat}"), swapped)
                recorded += meter.recorded
                unrecorded += meter.unrecorded
        if not recorded or not unrecorded:
            return None
        sides[0].append((sum(recorded), len(recorded)))
        sides[1].append((sum(unrecorded), len(unrecorded)))
    return paired_interval(sides[0], sides[1])


def _generate(
    system: api.System, pair: api.ModelPair, requests: Sequence[Request], turns: random.Random, swapped: bool
) -> AlternatingMeter:
    system.rehearse(requests)
    ids, limits = [request.id for request in requests], [request.max_new_tokens for request in requests]
    recording = RecordingMeter(ids, limits, pair.stop_tokens, system.now_ns)
    meter = AlternatingMeter(recording, NullMeter(limits, pair.stop_tokens), turns, swapped, system.now_ns)
    with undisturbed():
        system.generate(requests, meter)
    return meter


def _report(config: BenchConfig) -> None:
    with opened(config, datasets.load(config.dataset)) as session, frozen():
        found = [_measure(session, contender) for contender in session.contenders]
    if config.output is not None:
        ensure_writable(Path(config.output))
        write_text(Path(config.output) / "overhead.json", dump({"definition": DEFINITION, "rows": found}, indent=1))


def _measure(session: Session, contender: Contender) -> dict[str, str | float | None]:
    measure = session.config.measure
    session.warm_up(contender)
    if contender.system is None:
        reason = contender.reason_out
        sys.stdout.write(f"{contender.label}: {reason}\n")
        return {"system": contender.label, "value": None, "reason": reason}
    batches = split(session.selection.requests, measure.batch)
    found = ratio(contender.system, session.pair, batches, measure.repeats, measure.seed)
    if found is None:
        return {"system": contender.label, "value": None, "reason": "the system reports no steps"}
    value, low, high = found
    interval = "" if low is None or high is None else f" [{low - 1:+.2%}, {high - 1:+.2%}]"
    sys.stdout.write(f"{contender.label}: measuring costs {value - 1:+.2%}{interval}\n")
    return {"system": contender.label, "value": value, "low": low, "high": high}
