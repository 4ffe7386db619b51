"""Collect the activation matrices of many sequences, for systems that match the running one with them.

    python -m harness activations

Each sequence is decoded greedily with all experts resident; what is kept is how many of its decoded tokens each layer
routed to each expert. The file belongs to the model: its config names it as `activations`.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import track

from harness import datasets
from harness.cli.launch import launch
from harness.config import compose
from harness.config.bench import BenchConfig
from harness.measure.session import set_threads, split
from harness.records import provenance
from harness.records.files import ensure_writable
from systems import api
from systems.api import BadInput


def main() -> int:
    """Collect for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    return launch(_collect, compose.bench_config, "activations")


def _collect(config: BenchConfig) -> None:
    if config.output is None:
        raise BadInput("`output` says where the matrices go; set e.g. output=models/NAME/activation_matrices.npz")
    file = Path(config.output)
    ensure_writable(file.parent)
    set_threads(config.measure.threads)
    pair = api.load_pair(config.model, provenance.ROOT)
    try:
        prompts = datasets.load(config.dataset)
        requests = datasets.select(prompts, pair, config.dataset, config.measure).requests
        texts = {
            "dataset": config.dataset.name,
            "seed": config.dataset.seed,
            "prompts": datasets.fingerprint(prompts[: len(requests)]),
            "new_tokens": config.measure.max_new_tokens,
        }
        batches = track(split(requests, config.measure.batch), "decoding", transient=True)
        count = api.collect_activations(pair, batches, texts, file)
    finally:
        pair.close()
    size = file.stat().st_size / 2**10
    Console().print(f"{count} matrices of {len(requests)} sequences, {size:.0f} KiB: {file}", highlight=False)
