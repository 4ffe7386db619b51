"""W&B: a run is written once, offline unless it is told otherwise, and again only if it has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.config.bench import TrackingConfig
from harness.records.files import dump, ensure_writable, write_text
from harness.records.provenance import restored, scrub
from harness.tracking import content
from harness.tracking.content import Bars, Run
from systems.api import BadInput

MARKERS = ".wandb"
"""Folder in that of the records: a file per run that W&B has."""
PRIVATE = {
    "silent": True, "console": "off", "disable_git": True, "disable_code": True, "x_disable_machine_info": True,
    "x_disable_stats": True, "x_save_requirements": False, "host": "", "init_timeout": 30,
}  # fmt: skip
"""Settings: our own words only, and nothing that names a host, a person or a folder; provenance is in the config."""


def library() -> ModuleType:
    """Return wandb.

    Raises:
        BadInput: it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise BadInput("tracking=wandb needs wandb: pip install 'spmoe-bench[wandb]', or tracking=none") from error
    return wandb


def send(config: TrackingConfig, run: Run, markers: Path, tell: Callable[[str], None]) -> Path | None:
    """Write a run and return its folder; None where W&B has it already, just so.

    A run that has changed since (scored meanwhile, say) is sent under the id that it has.

    Args:
        tell: hears what could not be sent of it.
    """
    marker, digest = markers / f"{run.id}.json", _digest(config, run)
    if _is_kept(marker, digest):
        return None
    pages = {} if run.published is None else _pages(run.published, tell)
    ensure_writable(markers)
    wandb = library()
    handle = wandb.init(
        project=config.project, id=run.id, name=run.name, group=run.group, job_type=run.kind, tags=list(run.tags),
        config=dict(run.config), mode=config.mode, resume="allow" if config.mode == "online" else None,
        reinit="create_new",  # runs of one process must not merge into one
        settings=wandb.Settings(**PRIVATE),
    )  # fmt: skip
    code = 1
    try:
        _fill(wandb, handle, run, pages)
        code = 0
    finally:
        handle.finish(exit_code=code)
    folder = Path(handle.dir).parent
    write_text(marker, dump({"run": run.name, "digest": digest, "folder": scrub(str(folder))}, indent=1))
    return folder


def _fill(wandb: ModuleType, handle: Any, run: Run, pages: Mapping[str, str]) -> None:
    if not handle.resumed:  # else W&B has it, and would show it twice
        for axis, lines in run.history.items():
            handle.define_metric(axis, hidden=True, summary="none")
            handle.define_metric(f"{axis}/*", step_metric=axis, summary="none")
            for place, line in enumerate(lines):
                handle.log({axis: place, **{f"{axis}/{name}": value for name, value in line.items()}})
    media: dict[str, Any] = {name: _histogram(wandb, bars) for name, bars in run.histograms.items()}
    media |= {
        name: wandb.Table(columns=list(table.columns), data=[list(line) for line in table.lines])
        for name, table in run.tables.items()
    }
    media |= {name: wandb.Html(page, data_is_not_path=True) for name, page in pages.items()}
    handle.log(media)
    artifact = wandb.Artifact(f"records-{run.id}", type="records", description=run.name)
    for file in run.files:
        artifact.add_file(str(file))
    handle.log_artifact(artifact)
    handle.summary.update(dict(run.summary))


def _pages(folder: Path, tell: Callable[[str], None]) -> dict[str, str]:
    try:
        return content.pages(folder)
    except ImportError as error:
        tell(f"W&B: no report page: {error.name} is missing; pip install 'spmoe-bench[report]'")
        return {}


def _histogram(wandb: ModuleType, bars: Sequence[float] | Bars) -> Any:
    if isinstance(bars, Bars):
        return wandb.Histogram(np_histogram=(list(bars.values), list(bars.edges)))
    return wandb.Histogram(bars)


def _digest(config: TrackingConfig, run: Run) -> str:
    """Return the hash of all that decides what W&B is told. Pages follow from the rest."""
    parts = [asdict(config), run.group, run.config, run.summary, run.history, [file.name for file in run.files]]
    return hashlib.sha256(dump(parts).encode()).hexdigest()[:16]


def _is_kept(marker: Path, digest: str) -> bool:
    """Whether this was sent as it is; an offline run must still be there."""
    try:
        stored = json.loads(marker.read_text(encoding="utf-8"))
        folder = Path.cwd() / restored(stored["folder"])
        return bool(stored["digest"] == digest and folder.is_dir())
    except (OSError, ValueError, KeyError, TypeError):
        return False  # never sent, or half written
