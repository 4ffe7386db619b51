"""What happens when: one request of each system with every span and transfer, for the picture and for Perfetto.

    python -m harness timeline experiment=timeline
    python -m harness timeline 'systems=[sd_offload,sp_moe]' dataset.limit=1 output=mine

Writes OUTPUT/timeline.json.gz in Chrome's trace format: open it as it is in https://ui.perfetto.dev or
chrome://tracing. Its times are the systems' own: of this machine, or of the virtual clock with `replay=`. Being watched
costs time: nothing here is a measurement of TPOT.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from harness import datasets
from harness.bench import run as bench
from harness.cli.launch import launch
from harness.config import compose
from harness.config.bench import BenchConfig
from harness.measure.contender import Contender, frozen, undisturbed
from harness.measure.session import Session, opened
from harness.measure.timeline_meter import TimelineMeter
from harness.records import provenance, published
from harness.records.files import dump, ensure_writable, write_text
from systems import api
from systems.api import BadInput, Transfer

FILE = "timeline.json.gz"
SCHEMA = "spmoe-bench/timeline/1"
STEPS, COMPUTATION, LINK = 1, 2, 3
"""Threads of each system in the trace."""
Event = dict[str, Any]


def main() -> int:
    """Watch for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    return launch(_watch, compose.bench_config)


def events(place: int, label: str, meter: TimelineMeter, transfers: Sequence[Transfer]) -> list[Event]:
    """Return a system's events in Chrome's format; times in microseconds from the start of the request."""
    begin = meter.started
    names = {STEPS: "steps", COMPUTATION: "computation", LINK: "link"}
    found: list[Event] = [_name("process_name", place, 0, label)]
    found += [_name("thread_name", place, thread, name) for thread, name in names.items()]
    for span in meter.spans:
        found.append(
            _event(span.name, "span", place, COMPUTATION, span.start - begin, span.end - begin, step=span.step)
        )
    for step in meter.steps:
        drafts = f": {step.accepted} of {step.drafted} drafts accepted" if step.drafted else ""
        text = f"step {step.number}{drafts}"
        found.append(
            _event(
                text, "step", place, STEPS, step.start - begin, step.end - begin, step=step.number,
                drafted=step.drafted, accepted=step.accepted,
            )
        )  # fmt: skip
    for one in transfers:
        kind = "prefetch" if one.prefetch else "demand"
        start, end = (int(1e9 * seconds) - begin for seconds in (one.start, one.end))
        name = f"layer {one.layer} expert {one.expert}"
        found.append(_event(name, kind, place, LINK, start, end, layer=one.layer, expert=one.expert))
    return found


def _watch(config: BenchConfig) -> None:
    if config.measure.batch != 1:
        raise BadInput(f"`measure.batch` is {config.measure.batch}; a timeline shows one request: measure.batch=1")
    console, output = Console(), Path(config.output or config.runs)
    published.ensure_same_kind(output / FILE, config.replay is not None)
    ensure_writable(output)
    prompts = datasets.load(config.dataset)
    with opened(config, prompts) as session, frozen():
        found = [
            event
            for place, contender in enumerate(session.contenders, 1)
            for event in _generate(session, place, contender)
        ]
    write_text(output / FILE, dump(_trace(config, bench.key_of(config, prompts), found)) + "\n")
    console.print(f"{len(found)} events: {output / FILE}", highlight=False)


def _generate(session: Session, place: int, contender: Contender) -> list[Event]:
    """Warm a system up and watch it generate for the first request."""
    session.warm_up(contender)
    if contender.system is None:
        raise BadInput(f"{contender.label} cannot be watched: {contender.reason_out}")
    system, request = contender.system, session.selection.requests[0]
    transfers: list[Transfer] = []
    system.rehearse([request])
    api.watch_transfers(system, transfers.append)
    with undisturbed():
        meter = TimelineMeter(request.max_new_tokens, session.pair.stop_tokens, system.now_ns)
        system.generate([request], meter)
    return events(place, contender.label, meter, transfers)


def _trace(config: BenchConfig, key: str, found: Sequence[Event]) -> dict[str, Any]:
    facts = provenance.collect()
    return {
        "schema": SCHEMA,
        "key": key,
        "commits": [f"{str(facts['commit'])[:10]}{'+' if facts['dirty'] else ''}"],
        "emulated": config.hardware.emulate is not None,
        "replayed": config.replay is not None,
        "hardware": config.hardware.name,
        "displayTimeUnit": "ms",
        "otherData": {name: facts[name] for name in ("command", "cpu", "cpus", "python", "packages")},
        "traceEvents": list(found),
    }


def _event(name: str, category: str, place: int, thread: int, start: int, end: int, **arguments: Any) -> Event:
    return {
        "name": name, "cat": category, "ph": "X", "pid": place, "tid": thread, "ts": start / 1e3,
        "dur": (end - start) / 1e3, "args": arguments,
    }  # fmt: skip


def _name(kind: str, place: int, thread: int, name: str) -> Event:
    return {"name": kind, "ph": "M", "pid": place, "tid": thread, "args": {"name": name}}
