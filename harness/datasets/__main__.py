"""List the datasets, with what is here and now: `python -m harness datasets`."""

from __future__ import annotations

from rich.console import Console

from harness.datasets import SPECS
from harness.datasets.sources import place
from harness.terminal import grid

HEADINGS = ("dataset", "here", "scored by", "what")


def main() -> None:
    """Print the table, and below it what is missing and how to get it."""
    console = Console()
    lines: list[tuple[str, ...]] = []
    missing: list[tuple[str, str]] = []
    for name, spec in SPECS.items():
        where, command = place(spec)
        lines.append((name, where, type(spec.task).__name__.lower(), spec.about))
        if command:
            missing.append((name, command))
    grid.draw(HEADINGS, lines, console, folds=("what",), lefts=HEADINGS)
    console.print("\nTo get what is not here (or give a local copy with dataset.path=FOLDER_OR_FILE):", highlight=False)
    for name, command in missing:
        console.print(f"  {name}: {command}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
