"""Attention of drafted tokens on the host: the chunked kernel beside what it replaces.

    python -m harness attention
    python -m harness attention drafted=8 prefix=4096

Kernels take turns on the same tensors, in an order that changes; what is said of one is the ratio of its time to that
of the chunked kernel, with an interval over rounds, and its greatest difference from double precision.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import track

from harness.cli.launch import launch
from harness.config import schema
from harness.measure.contender import undisturbed
from harness.metrics.intervals import paired_interval
from harness.records import provenance
from harness.records.files import dump, ensure_writable, write_text
from harness.tables import table
from harness.tables.columns import Section
from systems import api
from systems.api import BadInput

OURS = "chunked"
DEFINITIONS = (
    "time: median over rounds of one call over all requests of one layer",
    f"x {OURS}: sum of a kernel's times over that of {OURS}, 95 % interval over rounds",
    "error: greatest difference from the same attention in double precision",
)


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """Heads of queries, heads of keys and values, and the size of a head."""

    heads: int
    key_heads: int
    dim: int


@dataclass(frozen=True, slots=True)
class AttentionConfig:
    """`conf/attention.yaml`."""

    shapes: Mapping[str, AttentionShape]
    dtype: str
    rows: int
    prefix: int
    drafted: int
    rounds: int
    threads: int
    seed: int
    output: str

    def __post_init__(self) -> None:
        for name in ("rows", "prefix", "drafted", "rounds", "threads"):
            if getattr(self, name) < 1:
                raise BadInput(f"`{name}` is {getattr(self, name)}; 1 or more is needed")
        for name, shape in self.shapes.items():
            if min(shape.heads, shape.key_heads, shape.dim) < 1 or shape.heads % shape.key_heads:
                raise BadInput(f"`shapes.{name}`: heads must be a multiple of key_heads, and all of them positive")
        if self.dtype not in ("float32", "bfloat16"):
            raise BadInput(f"`dtype` is {self.dtype!r}; float32 or bfloat16 is needed")


def main() -> int:
    """Compare for `sys.argv`; exit codes are those of `harness.cli.launch.main`."""
    return launch(_report, lambda composed, _, __: schema.parse(AttentionConfig, composed, ""), "attention")


def compare(config: AttentionConfig, name: str) -> list[dict[str, Any]]:
    """Return one row per kernel for the model shape `name`."""
    shape, kernels = config.shapes[name], api.attention_kernels()
    work = api.attention_work(
        config.rows, shape.heads, shape.key_heads, shape.dim, config.prefix, config.drafted, config.seed, config.dtype
    )
    errors = {name: api.attention_error(work, kernel) for name, kernel in kernels.items()}  # and each has run once
    times = _times(config, work, kernels)
    ours = [(seconds, 1.0) for seconds in times[OURS]]
    rows = []
    for kernel, seconds in times.items():
        ratio, low, high = paired_interval([(second, 1.0) for second in seconds], ours)
        interval = {"ratio": ratio, "low": low, "high": high}
        rows.append({"shape": name, "kernel": kernel, "seconds": median(seconds), **interval, "error": errors[kernel]})
    return rows


def _times(config: AttentionConfig, work: Any, kernels: Mapping[str, Any]) -> dict[str, list[float]]:
    order, turns = list(kernels), random.Random(config.seed)
    times: dict[str, list[float]] = {kernel: [] for kernel in kernels}
    with undisturbed():
        for _ in track(range(config.rounds), "rounds", transient=True):
            turns.shuffle(order)
            for kernel in order:
                start = time.perf_counter()
                kernels[kernel](work)
                times[kernel].append(time.perf_counter() - start)
    return times


def _report(config: AttentionConfig) -> None:
    import torch

    torch.set_num_threads(config.threads)
    console, folder = Console(), Path(config.output)
    ensure_writable(folder)
    with torch.inference_mode():
        rows = [row for name in config.shapes for row in compare(config, name)]
    facts = {"config": asdict(config), "provenance": provenance.collect()}
    text = dump({"schema": "spmoe-bench/attention/1", **facts, "rows": rows}, indent=1)
    sections = [_section(config, name, rows) for name in config.shapes]
    write_text(folder / "attention.json", text)
    write_text(folder / "table.md", table.as_markdown(sections, DEFINITIONS))
    table.draw(sections, console)
    table.say((*DEFINITIONS, f"records: {folder}"), console)


def _section(config: AttentionConfig, name: str, rows: Sequence[dict[str, Any]]) -> Section:
    shape = config.shapes[name]
    title = (
        f"{name} ({shape.heads} heads, {shape.key_heads} of keys, {config.dtype}): "
        f"{config.rows} requests, {config.drafted} tokens behind {config.prefix}"
    )
    lines: list[tuple[str, ...]] = [
        (row["kernel"], f"{row['seconds'] * 1e3:.3f}", _ratio(row), f"{row['error']:.1e}")
        for row in rows
        if row["shape"] == name
    ]
    return Section(title, ("kernel", "time ms", f"x {OURS}", "error"), (), lines, len(lines))


def _ratio(row: Mapping[str, Any]) -> str:
    interval = "" if row["low"] is None else f" [{row['low']:.2f}, {row['high']:.2f}]"
    return f"{row['ratio']:.2f}{interval}"
