"""What a fit is asked to do, and the requests that it measures on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness import datasets
from harness.config.bench import DatasetConfig
from harness.studies.moesd.measure import Sweep
from systems.api import BadInput, ModelConfig, Request


@dataclass(frozen=True, slots=True)
class RoutingConfig:
    """How activated experts are counted: over texts of `prompts` requests, in groups of `tokens`, `samples` of each."""

    prompts: int
    new_tokens: int
    tokens: tuple[int, ...]
    samples: int


@dataclass(frozen=True, slots=True)
class MoesdConfig:
    """`conf/moesd.yaml`."""

    model: ModelConfig
    dataset: DatasetConfig
    sweep: Sweep
    routing: RoutingConfig
    prompt_tokens: int
    stride: int
    ridge_point: float
    starts: int
    threads: int
    seed: int
    points: str | None
    runs: str
    output: str

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "stride", "starts", "threads"):
            if getattr(self, name) < 1:
                raise BadInput(f"`{name}` is {getattr(self, name)}; 1 or more is needed")
        for name in ("top_ks", "draft_lengths", "batches"):
            listed = getattr(self.sweep, name)
            if not listed or min(listed) < 1:
                raise BadInput(f"`sweep.{name}` is {list(listed)}; numbers from 1 on are needed")


def requests(config: MoesdConfig, pair: Any, count: int) -> list[Request]:
    """The ends of the first prompts, encoded."""
    prompts = datasets.load(config.dataset)
    if len(prompts) < count:
        raise BadInput(f"dataset {config.dataset.name} has {len(prompts)} prompts, {count} are needed")
    return [
        Request(prompt.id, tuple(pair.encode(prompt.text)[-config.prompt_tokens :]), 2) for prompt in prompts[:count]
    ]
