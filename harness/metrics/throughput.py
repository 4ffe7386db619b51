"""Tokens per second of the whole batch while decoding; not 1 / TPOT as soon as the batch has two rows."""

from __future__ import annotations

from harness.metrics.base import Cell, Definition, Value
from harness.records.generation import Generation


def _parts(generation: Generation) -> tuple[float, float]:
    return generation.decode_tokens, generation.window_time / 1e9


THROUGHPUT = Definition(
    "throughput@2",
    "tokens/s",
    "higher",
    "tokens behind each row's first commit / time from first to last commit of the batch",
    parts=_parts,
)


def measure(cell: Cell) -> dict[str, Value]:
    """Decode throughput of the batch."""
    return {"throughput": THROUGHPUT.of(cell, "nothing was decoded")}
