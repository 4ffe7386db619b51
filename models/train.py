"""The recipe of the reference pair: corpus, tokenizer, dense model, upcycled and sharpened target, distilled draft.

    python -m torch.distributed.run --nproc-per-node 2 -m models.train --folder models/checkpoints
    python -m models.train --from models/reference     (go on from a pair: the last two stages only)

Every stage keeps its result in the folder; run the same command again after an interruption and it goes on.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from models import corpus, data, export, rollouts, stages, tokenizer
from models.data import LossWeights, Rows
from models.objectives import (
    RoutingWeights,
    distillation_loss,
    next_token_loss,
    router_agreement_loss,
    routing_loss,
)
from models.stages import Objective, Stage
from models.transformer import Architecture, Decoder, block
from models.upcycle import upcycled

CONTEXT, LONG_CONTEXT = 256, 512

DENSE = Stage("dense", 12_000_000, 4096, 0.02, 3e-3, seed=1, long_share=0.0, decay=0.4, final_rate=0.3)
TARGET = Stage("target", 2_400_000, 4096, 0.006, 9e-4, seed=2, long_share=0.25, decay=1.0)
SHARPEN = Stage("sharpen", 8_000_000, 4096, 0.004, 6e-4, seed=4, long_share=0.0, decay=1.0)
DRAFT = Stage("draft", 5_000_000, 4096, 0.005, 8e-4, seed=3, long_share=0.4, decay=1.0)


@dataclass(frozen=True)
class Mix:
    """What windows hold: `exercises` of them, `brief` of which show no examples, as `share` of the tokens."""

    exercises: int
    share: float
    brief: float
    weights: LossWeights
    seed: int


BROAD = Mix(64_000, 0.7, 0.0, LossWeights(), seed=0)
SHARP = Mix(100_000, 0.92, 0.85, LossWeights(library=0.3, prompt=0.1, solution=2.0), seed=11)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, besides the interpreter whose library is read."""

    broad: Mix = BROAD
    sharp: Mix = SHARP
    seed: int = 0
    experts: int = 16
    top_k: int = 2
    redrawn: float = 0.1
    routing: RoutingWeights = field(default_factory=RoutingWeights)
    agreement: float = 0.05
    rollouts: int = 10_000
    dense: Stage = DENSE
    target: Stage = TARGET
    sharpen: Stage = SHARPEN
    draft: Stage = DRAFT


def words(recipe: Recipe, folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer, from the folder or trained there."""
    place = folder / "tokenizer"
    if not place.exists():
        texts = corpus.build(8000, recipe.broad.seed)
        sample = random.Random(recipe.seed).sample(texts.library, min(150, len(texts.library)))
        made = tokenizer.train(sample + [corpus.solved(e) for e in texts.exercises], Architecture.vocab)
        made.save_pretrained(place)
    return tokenizer.load(place)


def windows(mix: Mix, known: PreTrainedTokenizerFast, path: Path) -> dict[int, Rows]:
    """Training windows by context length, from the file or made there."""
    if not path.exists():
        texts = corpus.build(mix.exercises, mix.seed, mix.brief)
        segments = data.exercise_segments(texts.exercises, known, mix.weights)
        library = data.stream(texts.library, known, mix.seed)
        arrays: dict[str, Any] = {}
        for context in (CONTEXT, LONG_CONTEXT):
            rows = data.rows(segments, library, mix.weights.library, context, mix.share)
            arrays |= {f"tokens_{context}": rows.tokens, f"weights_{context}": rows.weights}
        stages.write_atomically(path, lambda temporary: _save_windows(temporary, arrays))
    with np.load(path) as saved:
        return {c: Rows(saved[f"tokens_{c}"], saved[f"weights_{c}"]) for c in (CONTEXT, LONG_CONTEXT)}


def _save_windows(path: Path, windows: dict[str, Any]) -> None:
    with path.open("wb") as file:
        np.savez(file, **windows)


def objectives(recipe: Recipe) -> tuple[Objective, Objective, Callable[[Decoder], Objective]]:
    """The objectives of the three stages. Compiled pieces are shared by all layers; see `models.transformer`."""
    run_block = torch.compile(block, dynamic=False)
    token_loss = torch.compile(next_token_loss, dynamic=False)
    kl_loss = torch.compile(distillation_loss, dynamic=False)

    def dense(model: Decoder, tokens: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, float]]:
        hidden, _ = model(tokens[:, :-1], run_block)
        loss = token_loss(hidden, tokens[:, 1:], weights, model.embedding)
        return loss, {"loss": loss.item()}

    def sparse(model: Decoder, tokens: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, float]]:
        hidden, traces = model(tokens[:, :-1], run_block)
        loss = token_loss(hidden, tokens[:, 1:], weights, model.embedding)
        auxiliary, reuse, busiest = routing_loss(traces, recipe.routing)
        return loss + auxiliary, {"loss": loss.item(), "reuse": reuse, "busiest": busiest}

    def distil(teacher: Decoder, model: Decoder, tokens: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            hidden, traces = teacher(tokens[:, :-1], run_block)
            logits = teacher.logits(hidden)
        hidden, own = model(tokens[:, :-1], run_block)
        loss = kl_loss(hidden, weights, model.embedding, logits)
        agreement = router_agreement_loss([trace.features for trace in own], traces, teacher.router.detach())
        return loss + recipe.agreement * agreement, {"loss": loss.item(), "agreement": agreement.item()}

    return dense, sparse, lambda teacher: functools.partial(distil, teacher)


def train(recipe: Recipe, folder: Path, device: torch.device, start: Path | None = None) -> dict[str, Any]:
    """Run or resume the stages, those from `sharpen` on of the pair in `start` where one is given; returns the record
    of each, and leaves the weights in `folder`."""
    dense_objective, sparse_objective, distil_objective = objectives(recipe)
    with stages.Workers.here().first_ahead():
        known = words(recipe, folder) if start is None else tokenizer.load(start)
        broad = windows(recipe.broad, known, folder / "broad.npz") if start is None else {}
        sharp = windows(recipe.sharp, known, folder / "sharp.npz")
    records = {}
    torch.manual_seed(recipe.seed)
    if start is None:
        draft = Decoder(Architecture()).to(device)
        records["dense"] = stages.run(recipe.dense, draft, dense_objective, broad, folder)
        target = upcycled(draft, recipe.experts, recipe.top_k, recipe.redrawn, recipe.seed).to(device)
        records["target"] = stages.run(recipe.target, target, sparse_objective, broad, folder)
    else:
        draft, target = (export.load(start / role).to(device) for role in ("draft", "target"))
    records["sharpen"] = stages.run(recipe.sharpen, target, sparse_objective, sharp, folder)
    own = rolled_out(recipe, target, known, folder)
    half = {context: half_of_each(own[context], sharp[context]) for context in own}
    records["draft"] = stages.run(recipe.draft, draft, distil_objective(target), half, folder)
    return records


def rolled_out(recipe: Recipe, target: Decoder, known: PreTrainedTokenizerFast, folder: Path) -> dict[int, Rows]:
    """Windows of what the target writes by itself; every worker has it write a part."""
    workers = stages.Workers.here()
    path = folder / f"rollouts-{workers.rank}-of-{workers.count}.pt"
    if not path.exists():
        texts = rollouts.prompts(recipe.rollouts, recipe.sharp.seed)[workers.rank :: workers.count]
        pairs = [tuple(map(torch.from_numpy, pair)) for pair in rollouts.rollouts(target, known, texts)]
        stages.save(path, {"pairs": pairs})
    workers.wait()
    written = []
    for rank in range(workers.count):
        pairs = torch.load(folder / f"rollouts-{rank}-of-{workers.count}.pt", weights_only=True)["pairs"]
        written += [(prompt.numpy(), answer.numpy()) for prompt, answer in pairs]
    return {
        context: rollouts.windows(written, known.eos_token_id, context, recipe.sharp.weights)
        for context in (CONTEXT, LONG_CONTEXT)
    }


def half_of_each(some: Rows, others: Rows) -> Rows:
    """All windows of `some`, and as many of `others`."""
    tokens, weights = (np.concatenate([a, b[: len(a)]]) for a, b in zip(some, others, strict=True))
    return Rows(tokens, weights)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("models/checkpoints"))
    parser.add_argument("--from", dest="start", type=Path, help="folder of a pair to go on from")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    # Attention weights of a trained model underflow to subnormal numbers, which take a processor ten times as long.
    # Set before any thread pool starts: threads inherit it.
    torch.set_flush_denormal(True)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        torch.distributed.init_process_group()
    train(Recipe(), arguments.folder, arguments.device, arguments.start)


if __name__ == "__main__":
    main()
