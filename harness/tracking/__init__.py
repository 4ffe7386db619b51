"""Mirrors of the results. Files on disk are the truth; a tracker that fails costs a warning, not a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from harness.config.bench import TrackingConfig
from harness.records.provenance import scrub
from harness.tracking import client, content
from harness.tracking.content import Run

if TYPE_CHECKING:
    from harness.bench.run import Outcome

Build = Callable[[], Run]


def ensure_available(config: TrackingConfig) -> None:
    """Fail before anything is measured when the tracker cannot work at all.

    Raises:
        BadInput: wandb is not installed.
    """
    if config.tracks:
        client.library()


def mirror(outcomes: Sequence[Outcome], key: str, folder: Path, console: Console) -> None:
    """Hand a tracker every cell of comparisons that are published together, and a run of what they say together.

    Args:
        key: names what is published; it is the group of its runs unless `tracking.group` is set.
        folder: where it is published.
    """
    config, runs = outcomes[0].config.tracking, Path(outcomes[0].config.runs)
    if not config.tracks:
        return
    tell = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    sent = [path for name, build in _planned(outcomes, key, folder) for path in _send(config, runs, name, build, tell)]
    if config.mode == "offline" and sent:
        tell(f"W&B, offline: wandb sync {' '.join(scrub(str(path)) for path in sent)}")


def _planned(outcomes: Sequence[Outcome], key: str, folder: Path) -> Iterator[tuple[str, Build]]:
    """Yield what is to be sent, each by the name that a warning gives it."""
    for outcome in outcomes:
        for row in outcome.rows:
            yield row["system"], partial(content.of_cell, outcome, row, key)
    if sum(len(outcome.rows) for outcome in outcomes) > 1:
        yield "the comparison", partial(content.of_comparison, outcomes, key, folder)


def _send(config: TrackingConfig, runs: Path, name: str, build: Build, tell: Callable[[str], None]) -> Iterator[Path]:
    """Send one run unless the tracker has it as it is; yield the folder that it was written to."""
    try:
        written = client.send(config, build(), runs / client.MARKERS, tell)
    except Exception as error:  # whatever a tracker raises, the measurement is safe on disk
        tell(f"W&B did not take {name}: {error}. All is on disk; try tracking.mode=offline")
        return
    if written is not None:
        yield written
