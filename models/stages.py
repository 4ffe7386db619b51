"""The training loop that all three stages share: schedule, checkpoints that a kill does not lose, log, progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from models.data import Batches, Rows
from models.optimizer import Optimizer
from models.transformer import Decoder

LOG_EVERY = 10
AVERAGE_EVERY = 8
"""Steps of one worker."""

Objective = Callable[[Decoder, Tensor, Tensor], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class Stage:
    """One training: how many tokens, in which windows, and how fast.

    The last `long_share` of the tokens come in windows of `long_context`; the rate warms up, stays, and decays
    linearly to `final_rate` over the last `decay` of the steps.
    """

    name: str
    tokens: int
    batch_tokens: int
    muon_rate: float
    adam_rate: float
    context: int = 256
    long_context: int = 512
    long_share: float = 0.3
    decay: float = 0.6
    final_rate: float = 0.0
    warmup: int = 30
    seed: int = 0

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return max(1, self.tokens // self.batch_tokens)

    def rate(self, step: int) -> float:
        """Learning-rate scale at `step`."""
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        return min(1.0, (step + 1) / self.warmup, self.final_rate + (1 - self.final_rate) * left)

    def batch(self, rows: Mapping[int, Rows], step: int) -> tuple[Tensor, Tensor]:
        """Tokens `[rows, context + 1]` and loss weights `[rows, context]` of `step`, from `rows[context]`."""
        context = self.long_context if step >= (1 - self.long_share) * self.steps else self.context
        return Batches(rows[context], self.seed).batch(step, self.batch_tokens // context)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary neighbour of `path`, then rename: a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    write(temporary)
    temporary.replace(path)


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint."""
    write_atomically(path, lambda temporary: torch.save(content, temporary))


@dataclass(frozen=True)
class Workers:
    """The processes that train together (`torch.distributed.run` starts several), each on batches of its own.

    Their weights are averaged now and then (local SGD, Stich 2019) instead of the gradients at every step: two
    processes of one thread read 2,600 tokens per second so, and 1,800 with the gradients; one of them reads 1,300.
    """

    rank: int = 0
    count: int = 1

    @staticmethod
    def here() -> Workers:
        """Those of this process; one, unless a process group was joined."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return Workers()
        return Workers(distributed.get_rank(), distributed.get_world_size())

    def wait(self) -> None:
        """Until all workers have come here."""
        if self.count > 1:
            distributed.barrier()

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """Let the first worker through, and the others when it is done: they find the files that it has made."""
        if self.rank:
            self.wait()
        yield
        if not self.rank:
            self.wait()

    @torch.no_grad()
    def average(self, model: Decoder) -> None:
        """Give all workers the mean of their weights."""
        if self.count > 1:
            for parameter in model.parameters():
                distributed.all_reduce(parameter.data)
                parameter.div_(self.count)


def run(
    stage: Stage, model: Decoder, objective: Objective, rows: Mapping[int, Rows], folder: Path, save_every: float = 60.0
) -> dict[str, Any]:
    """Train `model` in place, continuing from `folder/<stage>.pt` where there is one; returns the stage's record."""
    path = folder / f"{stage.name}.pt"
    optimizer = Optimizer(model, stage.muon_rate, stage.adam_rate)
    record: dict[str, Any] = {"step": 0, "seconds": 0.0, "log": []}
    if path.exists():
        saved = torch.load(path, weights_only=True, map_location=model.embedding.device)
        model.load_state_dict(saved["model"])
        optimizer.load(saved["optimizer"])
        record = saved["record"]
    workers = Workers.here()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=workers.rank > 0) as progress:
        task = progress.add_task(stage.name, total=stage.steps, completed=record["step"])
        saved_at = time.monotonic()
        while record["step"] < stage.steps:
            line = _step(stage, model, optimizer, objective, rows, record, workers)
            done, rounds = record["step"] >= stage.steps, record["step"] // workers.count
            progress.update(task, completed=record["step"], description=f"{stage.name} {line}")
            if not (workers.rank or progress.console.is_terminal) and rounds % LOG_EVERY == 0:
                progress.console.print(f"{stage.name} {record['step']}/{stage.steps} {line}", highlight=False)
            if done or rounds % AVERAGE_EVERY == 0:
                workers.average(model)
            if not workers.rank and (done or time.monotonic() - saved_at > save_every):
                content = {"model": model.state_dict(), "optimizer": optimizer.state(), "record": record}
                save(path, content)
                saved_at = time.monotonic()
    return record


def _step(
    stage: Stage,
    model: Decoder,
    optimizer: Optimizer,
    objective: Objective,
    rows: Mapping[int, Rows],
    record: dict[str, Any],
    workers: Workers,
) -> str:
    """One optimizer step; logs some and returns what the progress bar shows."""
    started = time.monotonic()
    step: int = record["step"] + workers.rank
    tokens, weights = (part.to(model.embedding.device) for part in stage.batch(rows, step))
    loss, values = objective(model, tokens, weights)
    loss.backward()
    optimizer.step(stage.rate(step))
    record["step"] += workers.count
    rounds = record["step"] // workers.count
    record["seconds"] += time.monotonic() - started
    if rounds % LOG_EVERY == 0 or rounds == 1 or record["step"] >= stage.steps:
        tokens = record["step"] * stage.batch_tokens
        record["log"].append({"tokens": tokens, **{key: round(value, 4) for key, value in values.items()}})
    speed = workers.count * stage.batch_tokens / (time.monotonic() - started)
    return " ".join([*(f"{key} {value:.3f}" for key, value in values.items()), f"{speed:.0f} tokens/s"])
