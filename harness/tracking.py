"""Mirrors of the results. Files on disk are the truth; a tracker that fails costs a warning, not a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from harness.config import TrackingConfig
from systems.api import BadInput

Warn = Callable[[str], None]


def ensure_available(config: TrackingConfig) -> None:
    """Fail before anything is measured when the tracker cannot work at all.

    Raises:
        BadInput: wandb is not installed.
    """
    if config.name == "wandb":
        _wandb()


def mirror(config: TrackingConfig, key: str, row: Mapping[str, Any], cell: Mapping[str, Any], warn: Warn) -> None:
    """Send one finished cell to the tracker.

    Args:
        key: names the comparison; it is the group of its runs unless `tracking.group` is set.
        row: the cell's row of `summary.json`.
        cell: resolved config and provenance.
    """
    if config.name == "none":
        return
    try:
        _mirror_to_wandb(config, key, row, cell)
    except Exception as error:  # whatever a tracker raises, the measurement is safe on disk
        warn(f"W&B did not take {row['system']}: {error}. All is on disk; try tracking.mode=offline")


def _mirror_to_wandb(config: TrackingConfig, key: str, row: Mapping[str, Any], cell: Mapping[str, Any]) -> None:
    run = _wandb().init(
        project=config.project,
        group=config.group or key,
        name=f"{row['system']}-{key}",
        job_type="bench",
        tags=[row["system"], row["model"], row["dataset"], row["hardware"], row["status"]],
        config=dict(cell),
        mode=config.mode,
        reinit="create_new",  # cells of one process must not merge into one run
    )
    values = {id: entry["value"] for id, entry in row["metrics"].items() if entry["value"] is not None}
    run.summary.update({"status": row["status"], "emulated": row["emulated"], **values})
    run.finish()


def _wandb() -> ModuleType:
    try:
        import wandb
    except ImportError as error:
        raise BadInput("tracking=wandb needs wandb: pip install 'spmoe-bench[wandb]', or tracking=none") from error
    return wandb
