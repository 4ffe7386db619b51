"""Write a page per result set, to read on any screen or on paper, with Markdown and CSV of the same tables.

python -m harness report results/bench
python -m harness report                        every published set
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.cli.launch import OK, typed
from harness.records.files import ensure_writable, write_text
from harness.records.summary_file import SCHEMA
from harness.report import forms
from harness.report.content import Report, gather
from systems.api import BadInput

FORMS = {"html": forms.html, "md": forms.markdown, "csv": forms.tidy}
UNPUBLISHED = "runs"


def main() -> int:
    """Command line; 0, or 2 for records that are missing or cannot be read."""
    return typed(_main)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", type=Path, help="folders with a summary.json, or one per point")
    parser.add_argument("--output", type=Path, default=Path("reports"), help="where NAME.html, NAME.md and NAME.csv go")
    arguments = parser.parse_args()
    ensure_writable(arguments.output)
    for report in [gather(folder) for folder in arguments.results or published(Path("results"))]:
        write(report, arguments.output)
    return OK


def published(results: Path) -> Sequence[Path]:
    """Return the folders of all result sets.

    Raises:
        BadInput: there is none.
    """
    sets = {file.parent for file in results.glob("*/summary.json")}
    sets |= {file.parent.parent for file in results.glob("*/*/summary.json")}
    found = sorted(folder for folder in sets if folder.name != UNPUBLISHED and _is_of_systems(folder))
    if not found:
        raise BadInput(f"{results} has no published results; make some, e.g. with make bench")
    return found


def write(report: Report, output: Path) -> None:
    """Write all forms of one set.

    Raises:
        CannotWrite: the output.
    """
    for suffix, form in FORMS.items():
        write_text(output / f"{report.name}.{suffix}", form(report))
    sys.stdout.write(f"{output / report.name}.html: {len(report.rows)} cells, {len(report.pictures)} figures\n")


def _is_of_systems(folder: Path) -> bool:
    """Whether a set's summary is of the kind that the bench writes, in whatever version or state."""
    first = min(folder.glob("**/summary.json"))
    try:
        kind = json.loads(first.read_text(encoding="utf-8")).get("schema", "")
    except ValueError:
        return True  # half-written: `gather` says so
    return str(kind).startswith(SCHEMA.rpartition("/")[0])


if __name__ == "__main__":
    sys.exit(main())
