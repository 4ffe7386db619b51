"""How well a replay predicted: its rows beside those of the live run, every miss listed.

    python -m harness.fidelity results/bench-all results/replay

Rows are matched by system, hardware and budget. Times are judged by their mean absolute percentage error and by the
order of the systems (Kendall's tau within each hardware profile); counts are shown, since threads make live ones vary.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.files import dump, write_text
from harness.records import Row

MISS = 0.15
"""Share of the measured TPOT from which on a prediction is a miss."""


@dataclass(frozen=True)
class Match:
    """A system in both runs; TPOT in seconds, bytes per token, hit rates."""

    system: str
    hardware: str
    measured: float
    predicted: float
    bytes_measured: float | None
    bytes_predicted: float | None
    hits_measured: float | None
    hits_predicted: float | None

    @property
    def error(self) -> float:
        """Relative error of the predicted TPOT."""
        return self.predicted / self.measured - 1


def matches(live: Sequence[Row], replayed: Sequence[Row]) -> list[Match]:
    """Pair the rows that both runs timed."""
    known = {_key(row): row for row in replayed}
    pairs = [(row, known[_key(row)]) for row in live if _key(row) in known]
    return [_match(*pair) for pair in pairs if all(_value(row, "tpot") for row in pair)]


def mape(found: Sequence[Match]) -> float:
    """Mean absolute percentage error of TPOT, as a share."""
    return sum(abs(match.error) for match in found) / len(found)


def kendall_tau(found: Sequence[Match]) -> float:
    """Agreement of the two orders: pairs in the same order less those in the other, over all pairs."""
    signs = [(a.measured - b.measured) * (a.predicted - b.predicted) for a, b in combinations(found, 2)]
    return sum((sign > 0) - (sign < 0) for sign in signs) / len(signs) if signs else 1.0


def report(found: Sequence[Match]) -> dict[str, Any]:
    """Everything as plain data, per hardware profile and over all."""
    profiles = sorted({match.hardware for match in found})
    return {
        "schema": "spmoe-bench/fidelity/1",
        "mape": mape(found),
        "profiles": {
            name: {
                "mape": mape(here),
                "kendall_tau": kendall_tau(here),
                "misses": [match.system for match in here if abs(match.error) > MISS],
            }
            for name in profiles
            if (here := [match for match in found if match.hardware == name])
        },
        "rows": [{**vars(match), "error": match.error} for match in found],
    }


def main() -> int:
    """Command line; exits with 2 when there is nothing to compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("live", type=Path, help="folder with the summary.json of a live run")
    parser.add_argument("replayed", type=Path, help="folder with the summary.json of its replay")
    arguments = parser.parse_args()
    found = matches(_rows(arguments.live), _rows(arguments.replayed))
    if not found:
        parser.error("no system was timed in both runs; replay with the systems of the live one")
    facts = report(found)
    write_text(arguments.replayed / "fidelity.json", dump(facts, indent=1))
    _show(found, facts, Console())
    return 0


def _show(found: Sequence[Match], facts: dict[str, Any], console: Console) -> None:
    table = Table(title="TPOT measured and predicted by replay")
    for heading in ("hardware", "system", "measured ms", "predicted ms", "error", "MiB/token", "hit rate"):
        table.add_column(heading, justify="left" if heading in ("hardware", "system") else "right")
    for match in found:
        table.add_row(
            match.hardware, match.system, f"{match.measured * 1e3:.2f}", f"{match.predicted * 1e3:.2f}",
            f"{match.error:+.1%}", _both(match.bytes_measured, match.bytes_predicted, 2**-20, 2),
            _both(match.hits_measured, match.hits_predicted, 1.0, 3),
        )  # fmt: skip
    console.print(table)
    for name, profile in facts["profiles"].items():
        missed = f"; beyond {MISS:.0%}: {', '.join(profile['misses'])}" if profile["misses"] else ""
        console.print(
            f"{name}: MAPE {profile['mape']:.1%}, Kendall's tau {profile['kendall_tau']:.2f}{missed}", highlight=False
        )


def _both(measured: float | None, predicted: float | None, scale: float, digits: int) -> str:
    texts = ["-" if value is None else f"{value * scale:.{digits}f}" for value in (measured, predicted)]
    return " / ".join(texts)


def _rows(folder: Path) -> list[Row]:
    path = folder / "summary.json"
    if not path.is_file():
        raise SystemExit(f"{path} is missing; publish a run there with output={folder}")
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def _key(row: Row) -> tuple[Any, ...]:
    return row["system"], row["hardware"], row["budget_bytes"], row["batch"], row["dataset"]


def _match(live: Row, replayed: Row) -> Match:
    both = (live, replayed)
    tpot = [float(_value(row, "tpot") or 0.0) for row in both]
    moved = [_value(row, "bytes_per_token") for row in both]
    hits = [_value(row, "hit_rate") for row in both]
    return Match(live["system"], live["hardware"], *tpot, *moved, *hits)


def _value(row: Row, id: str) -> float | None:
    value: float | None = row["metrics"].get(id, {}).get("value")
    return value


if __name__ == "__main__":
    sys.exit(main())
