"""Generated programming exercises that the reference pair was not trained on, in HumanEval's format."""

from __future__ import annotations

from harness.config import DatasetConfig
from harness.datasets.base import Prompt

DEFAULT_COUNT = 64


def load(config: DatasetConfig) -> list[Prompt]:
    """Return held-out exercises; `dataset.seed` chooses which. A few extra serve as warm-up."""
    from models.exercises import generate

    count = (config.limit or DEFAULT_COUNT) + 8
    return [Prompt(item.task_id, item.prompt) for item in generate("held_out", count, config.seed)]
