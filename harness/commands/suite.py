"""One comparison per profile (a hardware, or another setting of it), published and shown as one.

    python -m harness bench-all

Each comparison has its own records and is resumed on its own; see `profiles` in `conf/config.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console

from harness import tracking
from harness.bench import run as bench
from harness.bench.run import Outcome
from harness.cli.launch import launch, verdict
from harness.config import compose
from harness.config.bench import BenchConfig
from harness.records import summary_file
from harness.records.files import dump, ensure_writable, write_text
from harness.records.summary_file import Row
from harness.tables import suite as overview


def main() -> int:
    """Run the suite for `sys.argv`; exit codes are those of `harness.commands.bench.main`."""
    rows: list[Row] = []
    code = launch(lambda configs: rows.extend(run(configs)), compose.suite_configs)
    return code or verdict(rows)


def run(configs: Mapping[str, BenchConfig]) -> list[Row]:
    """Measure one comparison after the other, publish and show all as one; return all rows.

    Raises:
        BadInput: something the user can mend.
    """
    if any(config.dry_run for config in configs.values()):
        show_plans(configs.values())
        return []
    return _rows(_measure(configs))


def show_plans(configs: Iterable[BenchConfig]) -> None:
    """Say what would be measured, and how long it may take."""
    from harness.sweeps import leader, work

    leader.show_plan([work.planned(config) for config in configs], Console())


def publish(outcomes: Mapping[str, Outcome], folder: Path) -> None:
    """Write the summary of all rows, the table, and each comparison's provenance by profile.

    Raises:
        CannotWrite: the disk is full or the folder read-only.
    """
    ensure_writable(folder)
    rows = _rows(outcomes)
    origins = {label: bench.origin(outcome) for label, outcome in outcomes.items()}
    summary_file.write(folder, _key(outcomes), rows)
    write_text(folder / "table.md", overview.markdown(rows))
    write_text(folder / "provenance.json", dump(origins, indent=1))


def _measure(configs: Mapping[str, BenchConfig]) -> dict[str, Outcome]:
    tracking.ensure_available(next(iter(configs.values())).tracking)
    console, outcomes = Console(), dict[str, Outcome]()
    for label, config in configs.items():
        console.print(f"{label}: {config.hardware.source}", highlight=False)
        outcome = outcomes[label] = bench.run(config, console)
        bench.publish(outcome, Path(config.runs) / outcome.key)
    first = next(iter(configs.values()))
    home = Path(first.output or Path(first.runs) / _key(outcomes))
    publish(outcomes, home)
    overview.show(_rows(outcomes), console)
    tracking.mirror(list(outcomes.values()), _key(outcomes), home, console)
    console.print(f"records: {first.runs}, summary: {home / summary_file.FILE}", highlight=False)
    return outcomes


def _rows(outcomes: Mapping[str, Outcome]) -> list[Row]:
    return [row for outcome in outcomes.values() for row in outcome.rows]


def _key(outcomes: Mapping[str, Outcome]) -> str:
    return "+".join(outcome.key for outcome in outcomes.values())
