"""Generations written by hand, so that every expected number in the tests can be worked out on paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.metrics.base import Cell
from harness.records.generation import Commit, Generation, Report, Row, Step
from systems.api import LayerNeeds, Traffic

MS = 1_000_000
"""Nanoseconds in a millisecond."""


def row(id: str, *commits: tuple[int, int], tokens: Sequence[int] | None = None, stopped: bool = False) -> Row:
    """A row from (milliseconds, tokens kept); token ids count up from 1."""
    count = sum(kept for _, kept in commits)
    ids = list(range(1, count + 1)) if tokens is None else list(tokens)
    return Row(id, ids, [Commit(at * MS, kept) for at, kept in commits], handed=count, stopped=stopped)


def step(drafted: int, accepted: int, rows: Sequence[int] = (0,), seconds: float = 0.01) -> Step:
    return Step(tuple(rows), (drafted,) * len(rows), (accepted,) * len(rows), seconds, {})


def generation(*rows: Row, batch: int = 0, repeat: int = 0, **parts: Any) -> Generation:
    return Generation(repeat, batch, 0, 0, list(rows), **parts)


def traffic(phase: Any = "decode", layers: Sequence[LayerNeeds] = (), **counts: Any) -> Report:
    return Report(0, Traffic(phase, list(layers), **counts))


def cell(*generations: Generation, **parts: Any) -> Cell:
    return Cell(list(generations), **parts)
