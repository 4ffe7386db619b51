"""The papers' own numbers: `results/papers/*.csv`, one file per paper and one for the baselines they compare with.

A row is one number as printed, in the paper's unit and with the paper's names; what was read off a plot, is approximate
or was quoted by others says so in its note. `settings` reads `name=value` pairs out of the setting.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from harness.records.provenance import ROOT
from systems.api import BadInput

PAPERS = ROOT / "results/papers"
UNITS = {"s", "ms", "%", "x", "-", "tokens", "tokens/s", "requests", "MiB", "GB", "GB/s", "TFLOPS"}
ARXIV = re.compile(r"\d{4}\.\d{5}")


@dataclass(frozen=True)
class Reported:
    """One published number.

    Attributes:
        paper: arXiv id; `where` the table or figure in it.
        system, machine, model, dataset: the paper's names; empty where it does not say or they do not matter.
        setting: `name=value` pairs and words.
        metric: what it is, under the bench's id where there is one; `unit` as printed, one of `UNITS`.
        note: what limits it.
    """

    paper: str
    where: str
    system: str
    machine: str
    model: str
    dataset: str
    setting: str
    metric: str
    unit: str
    value: float
    note: str

    @property
    def settings(self) -> dict[str, str]:
        """The `name=value` pairs of the setting."""
        return dict(re.findall(r"(\w+)=(\S+)", self.setting))

    @property
    def seconds(self) -> float:
        """The value of a time in seconds.

        Raises:
            ValueError: the unit is no unit of time.
        """
        if self.unit not in ("s", "ms"):
            raise ValueError(f"{self.metric} is in {self.unit}, not in s or ms")
        return self.value / 1e3 if self.unit == "ms" else self.value


COLUMNS = [field.name for field in fields(Reported)]


def load(path: Path) -> list[Reported]:
    """Read one file.

    Raises:
        BadInput: it is missing, or a line (named) has no number, an unknown unit, or says what an earlier one says.
    """
    if not path.is_file():
        raise BadInput(f"{path.name} is missing from {path.parent.name}/")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream, restval="", strict=True)
        if reader.fieldnames != COLUMNS:
            raise BadInput(f"{path.name} has the columns {reader.fieldnames}; they must be {', '.join(COLUMNS)}")
        found = [_reported(path, number, row) for number, row in enumerate(reader, 2)]
    seen: set[tuple[str, ...]] = set()
    for number, one in enumerate(found, 2):
        key = (one.paper, one.where, one.system, one.machine, one.model, one.dataset, one.setting, one.metric)
        if key in seen:
            raise BadInput(f"{path.name}:{number} says the same as an earlier line: {', '.join(key)}")
        seen.add(key)
    return found


def everything(folder: Path = PAPERS) -> Iterator[Reported]:
    """Every number of every file.

    Raises:
        BadInput: as `load`.
    """
    for path in sorted(folder.glob("*.csv")):
        yield from load(path)


def _reported(path: Path, number: int, row: dict[str, str]) -> Reported:
    """Check one line.

    Raises:
        BadInput: names file, line and column.
    """
    place = f"{path.name}:{number}"
    try:
        value = float(row["value"])
    except ValueError as error:
        raise BadInput(f"{place}: `value` is {row['value']!r}; a number is needed") from error
    if not math.isfinite(value):
        raise BadInput(f"{place}: `value` is {value}; a finite number is needed")
    if not ARXIV.fullmatch(row["paper"]):
        raise BadInput(f"{place}: `paper` is {row['paper']!r}; an arXiv id such as 2510.10302 is needed")
    if row["unit"] not in UNITS:
        raise BadInput(f"{place}: `unit` is {row['unit']!r}; choose among {', '.join(sorted(UNITS))}")
    for column in ("where", "metric"):
        if not row[column]:
            raise BadInput(f"{place}: `{column}` is empty")
    return Reported(**{**row, "value": value})  # type: ignore[arg-type]  # all other columns are text
