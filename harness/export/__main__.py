"""Write results in another tool's format, each metric with that tool's definition.

    python -m harness export results/runs/KEY --as vllm

Formats: vllm, aiperf, guidellm, mlperf, spec-bench, hf-leaderboard. What a format has a name for and these records have
no number is named with the reason, on the terminal and in left-out.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from harness.cli.launch import OK, typed
from harness.export import aiperf, guidellm, leaderboard, mlperf, records, spec_bench, vllm
from harness.export.base import Export
from harness.export.records import System
from harness.records.files import dump, ensure_writable, write_text
from systems.api import BadInput

FORMATS: dict[str, Callable[[System], Export]] = {
    "vllm": vllm.export,
    "aiperf": aiperf.export,
    "guidellm": guidellm.export,
    "mlperf": mlperf.export,
    "spec-bench": spec_bench.export,
    "hf-leaderboard": leaderboard.export,
}
LEFT_OUT = "left-out.json"


def main() -> int:
    """Command line; 0, or 2 for records that are missing or cannot be read."""
    return typed(_main)


def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m harness export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="result set, e.g. results/runs/KEY")
    parser.add_argument("--as", dest="format", required=True, choices=FORMATS, help="whose format")
    parser.add_argument("--output", type=Path, default=Path("exports"), help="where FORMAT/NAME/ goes")
    arguments = parser.parse_args()
    folder = arguments.output / arguments.format / arguments.results.resolve().name
    write(records.read(arguments.results), arguments.format, folder)
    return OK


def write(systems: list[System], form: str, folder: Path) -> None:
    """Write a result set in a format, and say what is left out of it and why.

    Raises:
        BadInput: no system of it has outputs.
        CannotWrite: the folder.
    """
    exports = {system.label: FORMATS[form](system) for system in systems if system.requests}
    if not exports:
        raise BadInput("no system of this set has outputs to export; its table says why")
    silent = {system.label: str(system.row["reason"]) for system in systems if not system.requests}
    for label, export in exports.items():
        for name, text in export.files.items():
            ensure_writable((folder / name).parent)
            write_text(folder / name, text)
            sys.stdout.write(f"{label}: {folder / name}\n")
    left_out = {label: dict(export.left_out) for label, export in exports.items()}
    ensure_writable(folder)
    write_text(folder / LEFT_OUT, dump(left_out | silent, indent=1) + "\n")
    _tell(left_out, silent)


def _tell(left_out: dict[str, dict[str, str]], silent: dict[str, str]) -> None:
    """Name each metric once, and the systems where it is not left out of all."""
    systems: dict[tuple[str, str], list[str]] = {}
    for label, reasons in left_out.items():
        for item in reasons.items():
            systems.setdefault(item, []).append(label)
    for (metric, reason), labels in systems.items():
        where = "" if len(labels) == len(left_out) else f" of {', '.join(labels)}"
        sys.stdout.write(f"left out: {metric}{where}: {reason}\n")
    for label, reason in silent.items():
        sys.stdout.write(f"left out: {label}: {reason}\n")


if __name__ == "__main__":
    sys.exit(main())
