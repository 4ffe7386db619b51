"""Running sweeps in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.harness.app import CONF, SMALL

ROOT = Path(__file__).parents[3]
FAKES, SLURM = (Path(__file__).parent / name for name in ("fakes", "slurm"))
COUNTED = (
    "hit_rate", "late", "bytes_per_token", "wasted_bytes", "prefetch_precision", "acceptance_rate", "acceptance_length",
    "exact_match",
)  # fmt: skip
"""Metrics that no clock takes part in."""


def start(
    folder: Path, *arguments: str, within: Sequence[str] = (), mode: Sequence[str] = ("--multirun",)
) -> subprocess.Popen[str]:
    """Begin a sweep over the fakes; `within` is a command that runs others."""
    (folder / "prompts.jsonl").write_text("".join(f'{{"prompt": "def f{i}"}}\n' for i in range(5)))
    words = (*mode, "--config-dir", str(CONF), *SMALL, "dataset=jsonl", "dataset.path=prompts.jsonl", *arguments)
    return _begin(folder, [*within, sys.executable, "-m", "harness", *words], f"{FAKES}:{ROOT}")


def start_replay(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Begin a sweep over the committed recording, with the systems as they are."""
    words = ("--multirun", f"replay={ROOT}/results/check/traces", "dataset.limit=2", "measure.warmup=1", *arguments)
    return _begin(folder, [sys.executable, "-m", "harness", *words, "measure.max_new_tokens=16"], str(ROOT))


def _begin(folder: Path, command: Sequence[str], path: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "PATH": f"{SLURM}:{os.environ['PATH']}", "COLUMNS": "200"},
    )  # fmt: skip


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == code, out + errors
    return out + errors


def table(folder: Path) -> list[dict[str, Any]]:
    """The tidy table of the only sweep there."""
    from pyarrow.parquet import read_table

    (path,) = folder.glob("results/runs/sweeps/*/cells.parquet")
    found: list[dict[str, Any]] = read_table(path).to_pylist()
    return found


def counts(folder: Path) -> list[dict[str, Any]]:
    """All of it that no clock takes part in."""
    return [
        {name: value for name, value in line.items() if name != "key"}
        for line in table(folder)
        if line["metric"] in COUNTED
    ]
