"""Prompts: one small file per dataset."""

from __future__ import annotations

from collections.abc import Callable

from harness.config import DatasetConfig
from harness.datasets import exercises, humaneval, jsonl
from harness.datasets.base import Prompt, Selection, fingerprint, select
from harness.schema import suggest
from systems.api import BadInput

__all__ = ["Prompt", "Selection", "fingerprint", "load", "select"]

LOADERS: dict[str, Callable[[DatasetConfig], list[Prompt]]] = {
    "humaneval": humaneval.load,
    "exercises": exercises.load,
    "jsonl": jsonl.load,
}


def load(config: DatasetConfig) -> list[Prompt]:
    """Return all prompts of the configured dataset, in its own order.

    Raises:
        BadInput: an unknown dataset, or one that cannot be read.
    """
    if config.name not in LOADERS:
        raise BadInput(f"no dataset `{config.name}`; {suggest(config.name, LOADERS)}")
    return LOADERS[config.name](config)
