"""Generated programming exercises that the reference pair was not trained on, in HumanEval's format."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.config.bench import DatasetConfig
from harness.datasets.catalogue.humaneval import COLUMNS, STOP, program
from harness.datasets.spec import Code, Generated, Row, Spec
from harness.records.provenance import ROOT

COUNT = 256
"""Exercises that prompts are drawn from, whatever `dataset.limit`: a smaller one draws some of those of a larger."""
SPARE = 32
"""Exercises beyond `dataset.limit` at least, to warm up on."""


def make(config: DatasetConfig) -> Iterator[Row]:
    """Yield held-out exercises; `dataset.seed` chooses which."""
    with _importable(ROOT):
        from models.exercises import generate

    count = COUNT
    while count < (config.limit or 0) + SPARE:
        count *= 2
    for exercise in generate("held_out", count, config.seed):
        yield exercise.record()


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let packages in a folder be imported. An installed copy keeps `models` off the path, where another project may
    have one of that name."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


SPEC = Spec(
    name="exercises",
    about="generated Python functions, held out from the reference pair's training",
    source=Generated(make),
    columns=COLUMNS,
    prompt=lambda row: str(row["prompt"]),
    id=lambda row, number: str(row["task_id"]),
    task=Code(program),
    stop=STOP,
)
