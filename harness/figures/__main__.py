"""Draw figures from stored records.

    python -m harness figures
    python -m harness figures figure=budget

Nothing is measured and nothing fetched. What cannot be drawn is named at the end, with the command that makes its
records.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cli.launch import FAILURE, launch
from harness.config import schema
from harness.figures import FIGURES
from harness.figures.drawing import picture
from harness.figures.drawing.base import Figure
from harness.records.files import dump, ensure_writable, write_text
from harness.records.published import Missing, Unreadable
from systems.api import BadInput


@dataclass(frozen=True, slots=True)
class FiguresConfig:
    """`conf/figures.yaml`: `figure` is a name, several, or `all`."""

    figure: str | tuple[str, ...]
    results: str
    output: str
    runs: str

    @property
    def chosen(self) -> list[Figure]:
        """The figures that are asked for.

        Raises:
            BadInput: an unknown name.
        """
        if self.figure == "all":
            return list(FIGURES.values())
        names = (self.figure,) if isinstance(self.figure, str) else self.figure
        if unknown := [name for name in names if name not in FIGURES]:
            raise BadInput(f"no figure `{unknown[0]}`; {schema.suggest(unknown[0], ['all', *FIGURES])}")
        return [FIGURES[name] for name in names]


def main() -> int:
    """Draw for `sys.argv`; return 0, 1 when a figure could not be drawn, 2 usage."""
    missing: list[str] = []
    code = launch(lambda config: missing.extend(draw(config)), _read, "figures")
    return code or (FAILURE if missing else code)


def draw(config: FiguresConfig) -> list[str]:
    """Draw what can be drawn; return the names of what cannot.

    Raises:
        BadInput: an unknown figure, a folder that cannot be written, a wrong line in `results/papers/`.
    """
    figures, folder = config.chosen, Path(config.output)
    ensure_writable(folder)
    problems: dict[str, str] = {}
    for figure in figures:
        try:
            _draw(figure, Path(config.results), folder)
        except (Missing, Unreadable) as error:
            problems[figure.name] = str(error)
    drawn = len(figures) - len(problems)
    sys.stdout.write(f"{drawn} of {len(figures)} figures drawn: {folder}\n")
    for name, problem in problems.items():
        sys.stderr.write(f"missing: {name}: {problem}\n")
    return list(problems)


def _draw(figure: Figure, results: Path, folder: Path) -> None:
    record = figure.record(results)
    write_text(folder / f"{figure.name}.json", dump(record, indent=1, depth=3) + "\n")
    write_text(folder / f"{figure.name}.svg", picture.render(figure, record))
    marks = f" ({', '.join(record['marks'])})" if record["marks"] else ""
    sys.stdout.write(f"{figure.name}.svg: {figure.title}{marks}\n")


def _read(composed: dict[str, Any], folders: Sequence[Path], overrides: Sequence[str]) -> FiguresConfig:
    return schema.parse(FiguresConfig, composed, "")


if __name__ == "__main__":
    sys.exit(main())
