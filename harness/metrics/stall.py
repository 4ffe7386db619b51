"""How much of the traffic was felt.

A high hit rate can go with a slow system and the other way round: only waiting costs time, and only what was
hidden was gained.
"""

from __future__ import annotations

from harness.metrics.base import Cell, Definition, Shown, Value
from harness.records.generation import Generation


def _stall(generation: Generation) -> tuple[float, float]:
    return generation.window.get("transfer", 0) / 1e9, generation.window_time / 1e9


def _hidden(generation: Generation) -> tuple[float, float]:
    # Waits include wake-ups and can exceed the link's own time: then nothing was hidden.
    busy = generation.traffic("decode").link_busy
    return max(0.0, busy - generation.window.get("transfer", 0) / 1e9), busy


STALL_SHARE = Definition(
    "stall_share@1",
    "-",
    "lower",
    "time waiting for experts / time from first to last commit",
    parts=_stall,
    shown=Shown("stall", 3, place=50, brief="stall"),
)
OVERLAP = Definition(
    "overlap@1",
    "-",
    "higher",
    "1 - time waiting for experts / time the link was busy, at least 0, decode",
    parts=_hidden,
)


def measure(cell: Cell) -> dict[str, Value]:
    """Share of decode time spent waiting, and share of transfer time that compute hid."""
    return {
        "stall_share": STALL_SHARE.of(cell, "nothing was decoded"),
        "overlap": OVERLAP.of(cell, "nothing was transferred"),
    }
