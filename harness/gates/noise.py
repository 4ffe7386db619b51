"""Measure this machine's noise floor: the same comparison twice, and the largest change of a time between the two.

    python -m harness noise experiment=bench

`harness.gates.compare` goes by it on machines of this kind; it lies in `.cache/noise/`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from harness.bench import run as bench
from harness.cli.launch import launch
from harness.config import compose
from harness.config.bench import BenchConfig
from harness.gates import noise_floor as noise
from harness.gates import sets
from harness.gates.compare import show
from harness.gates.gate import compare
from systems.api import BadInput


def main() -> int:
    """Measure for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    return launch(_calibrate, compose.bench_config)


def _calibrate(config: BenchConfig) -> None:
    if config.replay is not None:
        raise BadInput("a replay has no noise; leave `replay` out")
    console, found = Console(), []
    for half in ("a", "b"):
        console.print(f"A/A run, {half}", highlight=False)
        once = replace(config, runs=f"{config.runs}/noise/{half}", output=None, resume=False)
        outcome = bench.run(once, console)
        bench.publish(outcome, Path(once.runs) / outcome.key)
        found.append(sets.read(Path(once.runs) / outcome.key))
    result = compare(found[0], found[1], 0.0)
    show(result, console)
    if not result.effects:
        raise BadInput(f"nothing could be compared ({'; '.join(result.refused)}); choose systems that are ok")
    path = noise.store(next(iter(found[0].values())).origin, result.effects)
    console.print(f"noise floor {noise.floor_of(result.effects):.1%}: {path}", highlight=False)
