"""Generated programming exercises that the reference pair was not trained on, in HumanEval's format."""

from __future__ import annotations

from collections.abc import Iterator

from harness.config import DatasetConfig
from harness.datasets.humaneval import COLUMNS, STOP, program
from harness.datasets.spec import Code, Generated, Row, Spec

COUNT = 256
"""Exercises that prompts are drawn from, whatever `dataset.limit`: a smaller one draws some of those of a larger."""
SPARE = 32
"""Exercises beyond `dataset.limit` at least, to warm up on."""


def make(config: DatasetConfig) -> Iterator[Row]:
    """Yield held-out exercises; `dataset.seed` chooses which."""
    from models.exercises import generate

    count = COUNT
    while count < (config.limit or 0) + SPARE:
        count *= 2
    for exercise in generate("held_out", count, config.seed):
        yield exercise.record()


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
