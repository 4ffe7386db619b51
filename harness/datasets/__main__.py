"""List the datasets, with what is here and now: `python -m harness datasets`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from harness.datasets import SPECS
from harness.datasets.sources import place


def main() -> None:
    """Print the table, and below it what is missing and how to get it."""
    console = Console()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("dataset", "here", "scored by", "what"):
        table.add_column(heading)
    missing: list[tuple[str, str]] = []
    for name, spec in SPECS.items():
        where, command = place(spec)
        table.add_row(name, where, type(spec.task).__name__.lower(), spec.about)
        if command:
            missing.append((name, command))
    console.print(table)
    console.print("\nTo get what is not here (or give a local copy with dataset.path=FOLDER_OR_FILE):", highlight=False)
    for name, command in missing:
        console.print(f"  {name}: {command}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
