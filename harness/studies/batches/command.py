"""A run over several batches read along the batch: curves, where speculation begins to pay, and why, in bytes.

    python -m harness batches results/bench-batch

Reads the `summary.json` of a suite, prints the tables and writes them to `over_batch.md` beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from harness.cli.launch import OK, typed
from harness.records.files import write_text
from harness.records.summary_file import Row
from harness.studies.batches import expected
from harness.studies.batches.grid import Grid
from harness.tables import columns, table
from harness.tables.columns import Column, Section, fixed

CURVES = (
    Column("Tokens per second of the batch", "throughput", fixed(1)),
    Column("TPOT of a request in ms", "tpot", fixed(1, 1e3)),
    Column("MiB over the link per token", "bytes_per_token", fixed(2, 2**-20)),
    Column("MiB over the link per cycle", "bytes_per_step", fixed(2, 2**-20)),
    Column("Acceptance rate", "acceptance_rate", fixed(3)),
    Column("Target efficiency", "target_efficiency", fixed(3)),
    Column("Outputs equal to plain greedy decoding", "exact_match", fixed(3)),
)
RIVALS = ("no_cache", "overlap", "caching", "offload")
"""Plain decoding that a crossover is looked for against."""


def curves(grid: Grid) -> list[Section]:
    """Return a table per metric, systems over batches; numbers under a verdict other than `ok` are starred."""
    return [_curve(grid, column) for column in CURVES]


def remarks(grid: Grid) -> Iterator[str]:
    """Yield from which batch on each speculative system passes each plain one, in speed and in bytes, and why."""
    for system in grid.speculative():
        for rival in (name for name in RIVALS if name in grid.systems):
            faster = _from(grid, system, rival, "throughput", higher=True)
            fewer = _from(grid, system, rival, "bytes_per_token", higher=False)
            yield f"{system}: more tokens per second than {rival} {faster}; fewer bytes per token {fewer}"
            yield from (_reason(grid, system, rival, batch) for batch in (grid.batches[0], grid.batches[-1]))


def _curve(grid: Grid, column: Column) -> Section:
    lines = [(system, *(_text(grid.cells.get((system, b)), column) for b in grid.batches)) for system in grid.systems]
    heads = ("system", *(f"B = {batch}" for batch in grid.batches))
    return Section(column.heading, heads, (column.metric,), lines, len(lines))


def _text(row: Row | None, column: Column) -> str:
    if row is None:
        return columns.UNKNOWN
    return columns.cell(row, column) + ("" if row["status"] == "ok" else "*")


def _from(grid: Grid, system: str, rival: str, metric: str, higher: bool) -> str:
    """Say from which batch on a system is better, all larger ones included."""
    better = []
    for batch in grid.batches:
        ours, theirs = grid.value(system, batch, metric), grid.value(rival, batch, metric)
        better.append(ours is not None and theirs is not None and ours != theirs and (ours > theirs) == higher)
    if not better[-1]:
        return "at no large batch" if any(better) else "never"
    first = len(better) - 1
    while first and better[first - 1]:
        first -= 1
    return f"from batch {grid.batches[first]} on" if first else "at every batch"


def _reason(grid: Grid, system: str, rival: str, batch: int) -> str:
    def cycle(name: str) -> str:
        moved, each = grid.value(name, batch, "bytes_per_step"), grid.value(name, batch, "bytes_per_token")
        tokens = f"{moved / each:.1f}" if moved and each else columns.UNKNOWN
        return f"{name} moves {(moved or 0.0) / 2**20:.2f} MiB per cycle of {tokens} tokens"

    return f"  at batch {batch}: {cycle(system)}, {cycle(rival)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, print and write for these words or `sys.argv`; 0, or 2 for a run that cannot be read."""
    return typed(partial(_main, arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder with the summary.json of a suite over batches")
    folder: Path = parser.parse_args(arguments).results
    grid = Grid.read(folder)
    console, drawn, said = Console(), [*curves(grid), *expected.sections(grid, RIVALS[0])], list(remarks(grid))
    said.append("* not `ok`: table.md says why")
    table.draw(drawn, console)
    table.say(said, console)
    write_text(folder / "over_batch.md", table.as_markdown(drawn, said))
    return OK
