"""One comparison from config to published summary: skip what is done, measure the rest, keep records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from harness import datasets
from harness.accuracy import consent, grading
from harness.config.bench import BenchConfig
from harness.measure import rows
from harness.measure.contender import Contender
from harness.measure.hardware import times_of
from harness.measure.progress import Display
from harness.measure.session import Session, opened
from harness.records import cells as records
from harness.records import lines, provenance, published, summary_file
from harness.records.cells import CellWriter
from harness.records.files import dump, ensure_writable, exclusive, write_text
from harness.records.generation import Generation
from harness.records.summary_file import Row
from harness.tables import table
from harness.verdict import relative as standing
from systems import api
from systems.api import Request


@dataclass(frozen=True)
class Outcome:
    """A comparison that ended: its rows, and the folder of each cell by system label."""

    config: BenchConfig
    key: str
    rows: list[Row]
    folders: dict[str, Path]


def run(config: BenchConfig, console: Console) -> Outcome:
    """Measure a comparison, or read it back when every cell of it is finished.

    Raises:
        BadInput: something the user can mend; nothing has been measured then, or it is marked unfinished.
    """
    ensure_writable(Path(config.runs))
    if config.output is not None:
        published.ensure_same_kind(Path(config.output) / summary_file.FILE, config.replay is not None)
        ensure_writable(Path(config.output))
    prompts = datasets.load(config.dataset)
    if config.replay is None:
        api.fetch_models(config.model, provenance.ROOT)
    key = key_of(config, prompts)
    refusal = consent.refusal(config, console)  # asked before measuring, so that nobody waits
    folders = {label: Path(config.runs) / key / label for label in config.systems}
    with exclusive(Path(config.runs) / key, lambda: console.print(f"{key}: waiting for the process that measures it")):
        found = [records.finished_row(folder) for folder in folders.values()] if config.resume else [None]
        if all(found):
            console.print(f"{key} is finished; its records are shown (resume=false measures again)", highlight=False)
            done = [row for row in found if row is not None]
        else:
            done = _measure(config, key, folders, prompts, console)
    compared = _among_others(config, done, folders)
    return Outcome(config, key, grading.graded(config, prompts, compared, folders, refusal, console), folders)


def key_of(config: BenchConfig, prompts: Sequence[datasets.Prompt]) -> str:
    """Return the hash that names a comparison of this code, with these weights, on these prompts, and with what is
    installed of other people's runtimes."""
    peers = {name for system in config.systems.values() for name in api.required_packages(system)}
    return config.key(
        provenance.code_fingerprint(),
        provenance.folder_fingerprint(_folders(config)),
        provenance.tokenizer_fingerprint(config.model.tokenizer_folder(provenance.ROOT)),
        datasets.fingerprint(prompts),
        provenance.versions_fingerprint(peers),
        "" if config.timed_by is None else str(api.plain_costs(times_of(config.timed_by))),
    )


def _folders(config: BenchConfig) -> list[Path | None]:
    """Return the folders whose content decides the numbers, each found where it is read."""
    model = config.model
    models = [model.folder(path, provenance.ROOT) if path else None for path in (model.target, model.draft)]
    traces = Path(config.replay).absolute() if config.replay is not None else None
    return [*models, traces]


def publish(outcome: Outcome, folder: Path) -> None:
    """Write summary, table and provenance of a comparison into a folder."""
    ensure_writable(folder)
    summary_file.write(folder, outcome.key, outcome.rows)
    write_text(folder / "table.md", table.markdown(outcome.rows))
    write_text(folder / "provenance.json", dump(origin(outcome), indent=1))


def origin(outcome: Outcome) -> dict[str, Any]:
    """Return the provenance of the first cell, which all share but for what resuming changes."""
    return records.stored_origin(next(iter(outcome.folders.values())))


def _among_others(config: BenchConfig, done: Sequence[Row], folders: Mapping[str, Path]) -> list[Row]:
    sides = standing.sides_of(done, folders)
    found = standing.with_gaps(done, sides, config.systems)
    found = standing.judged(found, sides, config.systems, config.measure.repeats)
    return standing.with_speedups(found, sides, config.baselines)


def _measure(
    config: BenchConfig, key: str, folders: dict[str, Path], prompts: Sequence[datasets.Prompt], console: Console
) -> list[Row]:
    with opened(config, prompts) as session:
        if session.selection.skipped:
            console.print(f"too long, left out: {', '.join(session.selection.skipped)}", highlight=False)
        return _record(session, folders, _provenance(session, key, datasets.fingerprint(prompts)), console)


def _record(session: Session, folders: dict[str, Path], origin: dict[str, Any], console: Console) -> list[Row]:
    """Measure with every cell's records open; whatever interrupts leaves them marked as unfinished."""
    writers: dict[str, CellWriter] = {}

    def store(contender: Contender, generation: Generation, requests: Sequence[Request]) -> None:
        found = lines.request_lines(generation, requests, session.reference.tokens, session.pair.decode)
        writers[contender.label].add(found, list(lines.step_lines(generation)))

    try:
        for label, folder in folders.items():
            writers[label] = CellWriter(folder, _yaml(session.config, label), origin)
        with Display(console, session.generations_planned) as display:
            session.run(display, store)
        done = [rows.build(session, contender) for contender in session.contenders]
        for row in done:
            writers[row["system"]].finish(row)
    except BaseException as error:
        for label, writer in writers.items():
            if not (folders[label] / summary_file.FILE).exists():
                writer.abandon(f"interrupted: {type(error).__name__}")
        raise
    return done


def _provenance(session: Session, key: str, dataset_hash: str) -> dict[str, Any]:
    config, selection, link = session.config, session.selection, session.link
    facts = provenance.collect() | {
        "key": key,
        "code": provenance.code_fingerprint(),
        "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "max_new_tokens": config.measure.max_new_tokens,
        "sampling": _sampling(config.measure.sampling),
        "repeats": config.measure.repeats,
        "queue": config.measure.queue,
        "warmup": config.measure.warmup,
        "threads": config.measure.threads,
        "model": session.pair.describe(),
        "dataset": {
            "name": config.dataset.name,
            "hash": dataset_hash,
            "prompts": [request.id for request in selection.requests],
            "warmup": [request.id for request in selection.warmup],
            "skipped": list(selection.skipped),
        },
        "link": None if link is None else asdict(link),
        "emulated": config.hardware.emulate is not None,
        "hardware": asdict(config.hardware),
        "costs": api.plain_costs(session.costs),
        "seeds": {
            "measure": config.measure.seed,
            "sampling": config.measure.sampling.seed,
            "dataset": config.dataset.seed,
        },
    }
    scrubbed: dict[str, Any] = provenance.scrub(facts)
    return scrubbed


def _sampling(sampling: api.Sampling) -> dict[str, Any]:
    """How tokens were chosen: a greedy choice has no more settings; the seed is recorded beside the others."""
    if sampling.temperature == 0:
        return {"temperature": 0.0}
    return {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}


def _yaml(config: BenchConfig, label: str) -> str:
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(provenance.scrub({"cell": label, **config.identity()})))
