"""How well a replay predicted: its rows beside those of the live run, every miss listed.

    python -m harness fidelity results/fidelity/live results/fidelity/replayed

Rows are matched by system, hardware and budget. Nothing is fitted: predictions rest on the layer times that the
recording measured. Times are judged by their mean absolute percentage error and by the order of the systems within each
hardware and budget (Kendall's tau over all pairs, and over those that the live intervals tell apart). A shared machine
is faster at one time than at another: a profile's drift, the median of measured over predicted TPOT, is told apart from
what is wrong about systems beside each other. Counts are shown, since real times make live ones vary.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from harness.cli.launch import OK, typed
from harness.records.files import dump, write_text
from harness.records.published import read
from harness.records.summary_file import FILE, Row
from harness.tables import table
from harness.tables.columns import Section
from systems.api import BadInput

MISS = 0.15
"""Share of the measured TPOT from which on a prediction is a miss."""


@dataclass(frozen=True)
class Match:
    """A system in both runs; TPOT in seconds with the live interval, bytes per token, hit rates."""

    system: str
    hardware: str
    budget_bytes: int
    measured: float
    predicted: float
    low: float
    high: float
    bytes_measured: float | None
    bytes_predicted: float | None
    hits_measured: float | None
    hits_predicted: float | None

    @property
    def error(self) -> float:
        """Relative error of the predicted TPOT."""
        return self.predicted / self.measured - 1

    @property
    def profile(self) -> str:
        """What systems are ordered within."""
        return f"{self.hardware}, {self.budget_bytes / 2**20:.1f} MiB"


def matches(live: Sequence[Row], replayed: Sequence[Row]) -> list[Match]:
    """Pair the rows that both runs timed."""
    known = {_key(row): row for row in replayed}
    pairs = [(row, known[_key(row)]) for row in live if _key(row) in known]
    return [_match(*pair) for pair in pairs if all(_value(row, "tpot") for row in pair)]


def mape(found: Sequence[Match]) -> float:
    """Mean absolute percentage error of TPOT, as a share."""
    return sum(abs(match.error) for match in found) / len(found)


def drift(found: Sequence[Match]) -> float:
    """How much slower than predicted everything of a profile was: the median of measured over predicted TPOT."""
    return median(match.measured / match.predicted for match in found)


def mape_without_drift(found: Sequence[Match]) -> float:
    """The error that is left, as a share, when each profile's drift is divided out."""
    factors = {profile: drift(_of(found, profile)) for profile in _profiles(found)}
    return sum(abs(match.predicted * factors[match.profile] / match.measured - 1) for match in found) / len(found)


def kendall_tau(found: Sequence[Match], apart: bool = False) -> float | None:
    """Agreement of the two orders: pairs in the same order less those in the other, over all pairs.

    Args:
        apart: leave out pairs whose live intervals overlap: which of them is faster was not measured.

    Returns:
        None where there is no pair.
    """
    signs = [
        (a.measured - b.measured) * (a.predicted - b.predicted)
        for a, b in combinations(found, 2)
        if a.profile == b.profile and not (apart and a.low <= b.high and b.low <= a.high)
    ]
    return sum((sign > 0) - (sign < 0) for sign in signs) / len(signs) if signs else None


def report(found: Sequence[Match]) -> dict[str, Any]:
    """Everything as plain data, per profile and over all."""
    each = {name: _of(found, name) for name in _profiles(found)}
    return {
        "schema": "spmoe-bench/fidelity/3",
        **_judged(found),
        "profiles": {name: _judged(mine) | {"drift": drift(mine)} for name, mine in each.items()},
        "rows": [{**asdict(match), "error": match.error} for match in found],
    }


def _judged(found: Sequence[Match]) -> dict[str, Any]:
    return {
        "mape": mape(found),
        "mape_without_drift": mape_without_drift(found),
        "kendall_tau": kendall_tau(found),
        "kendall_tau_apart": kendall_tau(found, apart=True),
        "misses": [match.system for match in found if abs(match.error) > MISS],
    }


def main() -> int:
    """Command line; 0, or 2 when there is nothing to compare."""
    return typed(_main)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("live", type=Path, help="folder with the summary.json of a live run")
    parser.add_argument("replayed", type=Path, help="folder with the summary.json of its replay")
    arguments = parser.parse_args()
    found = matches(_rows(arguments.live), _rows(arguments.replayed))
    if not found:
        raise BadInput("no system was timed in both runs; replay with the systems of the live one")
    facts = report(found)
    write_text(arguments.replayed / "fidelity.json", dump(facts, indent=1))
    sections = [_section(found, name) for name in facts["profiles"]]
    verdicts = [
        *(f"{_verdict(name, judged)}{_missed(judged)}" for name, judged in facts["profiles"].items()),
        _verdict("all", facts),
        "without drift: a profile's median of measured over predicted TPOT, the machine's speed then, divided out",
    ]
    write_text(arguments.replayed / "fidelity.md", table.as_markdown(sections, verdicts))
    table.draw(sections, console := Console())
    table.say(verdicts, console)
    return OK


def _profiles(found: Sequence[Match]) -> list[str]:
    return list(dict.fromkeys(match.profile for match in found))


def _of(found: Sequence[Match], profile: str) -> list[Match]:
    return [match for match in found if match.profile == profile]


def _section(found: Sequence[Match], profile: str) -> Section:
    lines: list[tuple[str, ...]] = [
        (
            match.system, f"{match.measured * 1e3:.2f}",
            f"{match.predicted * 1e3:.2f}", f"{match.error:+.1%}",
            _both(match.bytes_measured, match.bytes_predicted, 2**-20, 2),
            _both(match.hits_measured, match.hits_predicted, 1.0, 3),
        )
        for match in _of(found, profile)
    ]  # fmt: skip
    headings = ("system", "measured ms", "predicted ms", "error", "MiB/token", "hit rate")
    return Section(f"TPOT measured and predicted by replay, {profile}", headings, (), lines, len(lines))


def _verdict(name: str, judged: dict[str, Any]) -> str:
    taus = [judged["kendall_tau"], judged["kendall_tau_apart"]]
    said = " / ".join("-" if tau is None else f"{tau:.2f}" for tau in taus)
    drifted = f" ({judged['drift']:.2f}x)" if "drift" in judged else ""
    return (
        f"{name}: MAPE {judged['mape']:.1%}, without drift{drifted} {judged['mape_without_drift']:.1%}; "
        f"Kendall's tau of all pairs / of those told apart {said}"
    )


def _missed(judged: dict[str, Any]) -> str:
    return f"; beyond {MISS:.0%}: {', '.join(judged['misses'])}" if judged["misses"] else ""


def _both(measured: float | None, predicted: float | None, scale: float, digits: int) -> str:
    texts = ["-" if value is None else f"{value * scale:.{digits}f}" for value in (measured, predicted)]
    return " / ".join(texts)


def _rows(folder: Path) -> list[Row]:
    return read(folder / FILE, "", f"a run with output={folder}").rows


def _key(row: Row) -> tuple[Any, ...]:
    return row["system"], row["hardware"], row["budget_bytes"], row["batch"], row["dataset"]


def _match(live: Row, replayed: Row) -> Match:
    both = (live, replayed)
    tpot = [float(_value(row, "tpot") or 0.0) for row in both]
    moved = [_value(row, "bytes_per_token") for row in both]
    hits = [_value(row, "hit_rate") for row in both]
    interval = [float(live["metrics"]["tpot"].get(end) or tpot[0]) for end in ("low", "high")]
    return Match(live["system"], live["hardware"], live["budget_bytes"], *tpot, *interval, *moved, *hits)


def _value(row: Row, id: str) -> float | None:
    value: float | None = row["metrics"].get(id, {}).get("value")
    return value
