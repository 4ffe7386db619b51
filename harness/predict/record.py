"""Record what replaying a comparison needs.

    python -m harness record experiment=bench replay=traces/bench
    python -m harness experiment=bench replay=traces/bench

The prompts of the comparison, its warm-up, and the longest draft of each kind of drafter among its systems: budgets,
cutoffs, links, residency and shorter drafts can then be replayed without running the models.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from harness import datasets
from harness.cli.launch import launch
from harness.config import compose
from harness.config.bench import BenchConfig
from harness.measure.hardware import measured
from harness.measure.session import widths
from harness.records import provenance
from harness.records.files import ensure_writable
from systems import api
from systems.api import BadInput


def main() -> int:
    """Record for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    return launch(_record, compose.bench_config)


def _record(config: BenchConfig) -> None:
    if config.replay is None:
        raise BadInput("`replay` says where traces go; set e.g. replay=traces/bench")
    console, folder = Console(), Path(config.replay)
    ensure_writable(folder)
    pair = api.load_pair(config.model, provenance.ROOT)
    try:
        selection = datasets.select(datasets.load(config.dataset), pair, config.dataset, config.measure)
        costs = measured(config, pair, widths(config), selection.prompts)
        requests = [*selection.requests, *selection.warmup]
        with console.status(f"recording {len(requests)} prompts"):
            api.record_traces(pair, list(config.systems.values()), requests, costs, folder)
    finally:
        pair.close()
    files = sorted(folder.glob("*.npz"))
    size = sum(file.stat().st_size for file in files) / 2**20
    console.print(f"{len(files)} traces of {len(requests)} prompts, {size:.1f} MiB: {folder}", highlight=False)
