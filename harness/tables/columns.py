"""What tables are made of: columns that show a metric, and sections that hold a line of texts per system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from harness import metrics
from harness.accuracy import definitions
from harness.metrics import experts, oracle_gap, speedup
from harness.metrics.base import Definition, Shown
from harness.records.summary_file import Row

UNKNOWN = "-"
Format = Callable[[float], str]


class Column(NamedTuple):
    """A heading, the metric below it, how to print a value, and whether to print its interval."""

    heading: str
    metric: str
    form: Format
    interval: bool = False


class Section(NamedTuple):
    """One table: a title, headings, and a line of texts per system, of which the first `lossless` are lossless.

    `metrics` are the ids of what is shown.
    """

    title: str
    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    lines: list[tuple[str, ...]]
    lossless: int


def fixed(digits: int, scale: float = 1.0) -> Format:
    """Return the format with so many digits after the point, of the value times `scale`."""
    return lambda value: f"{value * scale:.{digits}f}"


TPOT = Column("TPOT ms", "tpot", fixed(2, 1e3), interval=True)
THROUGHPUT = Column("tokens/s", "throughput", fixed(1))
BEST = Column("x best", speedup.BEST, fixed(2))
GAP = Column("gap", oracle_gap.GAP, fixed(2))
GAP_ANY = Column("gap any", oracle_gap.ANY, fixed(2))
GAPS = (GAP, GAP_ANY)


def of(definition: Definition, shown: Shown) -> Column:
    """Return the column of a metric as its definition shows it."""
    return Column(shown.heading, definition.name, fixed(shown.digits, shown.scale), shown.interval)


def experts_and_drafts() -> list[Column]:
    """Return the columns of all metrics that are shown by themselves, from left to right."""
    return [of(definition, shown) for definition, shown in _shown()]


def brief() -> list[Column]:
    """Return those of them that the wide table of several profiles has."""
    return [
        of(definition, shown)._replace(heading=shown.brief) for definition, shown in _shown() if shown.brief is not None
    ]


def _shown() -> list[tuple[Definition, Shown]]:
    known = [(definition, definition.shown) for definition in metrics.definitions().values()]
    return sorted(((one, shown) for one, shown in known if shown is not None), key=lambda pair: pair[1].place)


def definition_of(metric: str) -> Definition | None:
    """Return the definition behind a metric of a row: its own, or the one of its kind, as of `speedup_over_offload`."""
    known = {**metrics.definitions(), **{item.name: item for item in definitions.ALL}}
    names = [name for name in known if metric == name or metric.startswith(f"{name}_")]
    return known[max(names, key=len)] if names else None


HIT_RATE = of(experts.HIT_RATE, Shown("hit rate", 3))


def times(rows: Sequence[Row]) -> list[Column]:
    """Return the column of TPOT, a request's; with several at once the batch's throughput beside it."""
    return [TPOT, THROUGHPUT] if any(row["batch"] > 1 for row in rows) else [TPOT]


def over(baseline: str, interval: bool = True) -> Column:
    """Return the column of speedups over a baseline."""
    return Column(f"x {baseline}", f"speedup_over_{baseline}", fixed(2), interval)


def baselines(rows: Sequence[Row]) -> list[str]:
    """Return the baselines that rows have speedups over, in the order of the config."""
    names = {row["system"] for row in rows}
    found = [
        [label for id in row["metrics"] if (label := id.removeprefix("speedup_over_")) in names and label != id]
        for row in rows
    ]
    # A baseline's own row lacks it, so the fullest row has the order.
    return list(dict.fromkeys(label for labels in sorted(found, key=len, reverse=True) for label in labels))


def known(rows: Sequence[Row], column: Column) -> bool:
    """Whether any row has a value there."""
    return any(row["metrics"].get(column.metric, {}).get("value") is not None for row in rows)


def section(title: str, rows: Sequence[Row], columns: Sequence[Column], status: bool = False) -> Section:
    """Return the table of these columns; lossy systems come last and are marked."""
    ordered = sorted(rows, key=lambda row: not row["lossless"])
    heads = ("system", *(["status"] if status else []), *(column.heading for column in columns))
    lines = [
        (name(row), *([row["status"]] if status else []), *(cell(row, column) for column in columns)) for row in ordered
    ]
    return Section(
        title, heads, tuple(column.metric for column in columns), lines, sum(row["lossless"] for row in rows)
    )


def setting(rows: Sequence[Row]) -> str:
    """Say what all rows have in common."""
    first = rows[0]
    how = [name for name in ("emulated", "replayed") if first.get(name)]
    hardware = first["hardware"] + (f" ({', '.join(how)})" if how else "")
    budget = f"{first['budget_bytes'] / 2**20:.1f} MiB"
    return f"on {first['model']}, {first['dataset']}, {hardware}, batch {first['batch']}, {budget}"


def name(row: Row) -> str:
    """Return a system's label, marked where it changes outputs."""
    label: str = row["system"]
    return label if row["lossless"] else f"{label} (lossy)"


def cell(row: Row, column: Column) -> str:
    """Print a metric of a row; what is unknown is a dash."""
    entry = row["metrics"].get(column.metric)
    if entry is None or entry["value"] is None:
        return UNKNOWN
    if not column.interval or entry["low"] is None:
        return column.form(entry["value"])
    return f"{column.form(entry['value'])} [{column.form(entry['low'])}, {column.form(entry['high'])}]"
