"""One comparison per hardware profile, published and shown as one.

    python -m harness.suite experiment=bench_all

Each comparison has its own records and is resumed on its own; see `profiles` in `conf/config.yaml`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness import bench, compose, overview, records
from harness.bench import Outcome
from harness.config import BenchConfig
from harness.files import dump, ensure_writable, write_text
from harness.run import launch, verdict


def main() -> int:
    """Run the suite for `sys.argv`; exit codes are those of `harness.run.main`."""
    outcomes: list[Outcome] = []
    code = launch(lambda configs: outcomes.extend(_run(configs)), compose.suite_configs)
    return code or verdict(row for outcome in outcomes for row in outcome.rows)


def publish(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Write the summary of all rows, the table, and each comparison's provenance by hardware profile.

    Raises:
        CannotWrite: the disk is full or the folder read-only.
    """
    ensure_writable(folder)
    rows = [row for outcome in outcomes for row in outcome.rows]
    origins = {outcome.config.hardware.name: bench.origin(outcome) for outcome in outcomes}
    write_text(folder / "summary.json", dump(records.summary(_key(outcomes), rows), indent=1))
    write_text(folder / "table.md", overview.markdown(rows))
    write_text(folder / "provenance.json", dump(origins, indent=1))


def _run(configs: Sequence[BenchConfig]) -> list[Outcome]:
    console = Console()
    outcomes = []
    for config in configs:
        console.print(f"hardware {config.hardware.name}: {config.hardware.source}", highlight=False)
        outcomes.append(bench.run(config, console))
        bench.publish(outcomes[-1], Path(config.runs) / outcomes[-1].key)
        bench.mirror(outcomes[-1], console)
    home = Path(configs[0].output or Path(configs[0].runs) / _key(outcomes))
    publish(outcomes, home)
    overview.show([row for outcome in outcomes for row in outcome.rows], console)
    console.print(f"records: {configs[0].runs}, summary: {home / 'summary.json'}", highlight=False)
    return outcomes


def _key(outcomes: Sequence[Outcome]) -> str:
    return "+".join(outcome.key for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
