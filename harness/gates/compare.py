"""Compare two result sets, and gate on it.

    python -m harness compare results/runs/BASE results/runs/NEW

Exit codes: 0 ok, 1 regressed, 2 usage, 3 cannot be compared.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from harness.cli.launch import typed
from harness.gates import noise_floor as noise
from harness.gates import sets
from harness.gates.effects import COMPARED, FLOOR, Effect
from harness.gates.gate import INCOMPARABLE, OK, Result, compare
from harness.tables.columns import Section
from harness.tables.table import draw, say

WORDS = {0: "ok", 1: "regressed", 3: "cannot be compared"}


def main() -> int:
    """Compare for `sys.argv`; see the exit codes above."""
    return typed(_main)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m harness compare", description=__doc__.split("\n")[0])
    parser.add_argument("base", type=Path, help="result set before, e.g. results/runs/KEY")
    parser.add_argument("new", type=Path, help="result set after")
    arguments = parser.parse_args()
    console = Console()
    try:
        base, new = sets.read(arguments.base), sets.read(arguments.new)
        measured = noise.stored(next(iter(base.values())).origin) if base else None
    except sets.CannotCompare as error:
        sys.stderr.write(f"{WORDS[INCOMPARABLE]}: {error}\n")
        return INCOMPARABLE
    result = compare(base, new, FLOOR if measured is None else measured)
    show(result, console)
    if measured is None:
        say([f"noise floor {FLOOR:.0%}, assumed: python -m harness noise measures this machine's"], console)
    else:
        say([f"noise floor {measured:.1%}, from the A/A run on this machine"], console)
    console.print(WORDS[result.code], style="bold" if result.code == OK else "bold red")
    return result.code


def show(result: Result, console: Console) -> None:
    """Print effects, paired over prompts with 95 % intervals, what is broken, and what could not be compared."""
    heads = ("system", "base", "new", "new / base", "verdict")
    for metric, definition in COMPARED.items():
        lines = [_line(effect) for effect in result.effects if effect.metric == metric]
        if lines:
            draw([Section(f"{metric} ({definition.unit})", heads, (metric,), lines, len(lines))], console)
    say([f"broken: {text}" for text in result.broken], console)
    say([f"not compared: {text}" for text in result.refused], console)


def _line(effect: Effect) -> tuple[str, ...]:
    ratio = f"{effect.ratio:.3f} [{effect.low:.3f}, {effect.high:.3f}]"
    return effect.system, f"{effect.before:.5g}", f"{effect.after:.5g}", ratio, effect.verdict
