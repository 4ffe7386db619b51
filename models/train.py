"""The recipe of the reference pair: corpus, tokenizer, dense model, upcycled target, distilled draft.

    python -m models.train --folder models/checkpoints

Every stage keeps its result in the folder; run the same command again after an interruption and it goes on.
"""

from __future__ import annotations

import argparse
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from models import corpus, data, stages, tokenizer
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
DRAFT = Stage("draft", 1_000_000, 4096, 0.005, 8e-4, seed=3, long_share=0.5, decay=1.0)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, besides the interpreter whose library is read."""

    exercises: int = 64_000
    exercise_share: float = 0.7
    weights: LossWeights = field(default_factory=LossWeights)
    seed: int = 0
    experts: int = 16
    top_k: int = 2
    redrawn: float = 0.1
    routing: RoutingWeights = field(default_factory=RoutingWeights)
    agreement: float = 0.05
    dense: Stage = DENSE
    target: Stage = TARGET
    draft: Stage = DRAFT


@dataclass(frozen=True)
class Prepared:
    """Tokenizer, and the training windows by context length."""

    tokenizer: PreTrainedTokenizerFast
    rows: dict[int, Rows]


def prepare(recipe: Recipe, folder: Path) -> Prepared:
    """Tokenizer and training windows, from the folder or made there."""
    path = folder / "windows.npz"
    if not path.exists():
        texts = corpus.build(recipe.exercises, recipe.seed)
        sample = random.Random(recipe.seed).sample(texts.library, min(150, len(texts.library)))
        made = tokenizer.train(sample + [corpus.solved(e) for e in texts.exercises[:8000]], Architecture.vocab)
        made.save_pretrained(folder / "tokenizer")
        segments = data.exercise_segments(texts.exercises, made, recipe.weights)
        library = data.stream(texts.library, made, recipe.seed)
        windows: dict[str, Any] = {}
        for context in (CONTEXT, LONG_CONTEXT):
            found = data.rows(segments, library, recipe.weights.library, context, recipe.exercise_share)
            windows |= {f"tokens_{context}": found.tokens, f"weights_{context}": found.weights}
        stages.write_atomically(path, lambda temporary: _save_windows(temporary, windows))
    with np.load(path) as saved:
        rows = {c: Rows(saved[f"tokens_{c}"], saved[f"weights_{c}"]) for c in (CONTEXT, LONG_CONTEXT)}
    return Prepared(tokenizer.load(folder / "tokenizer"), rows)


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


def train(recipe: Recipe, folder: Path, device: torch.device) -> dict[str, Any]:
    """Run or resume all stages; returns the record of each, and leaves the weights in `folder`."""
    prepared = prepare(recipe, folder)
    dense_objective, sparse_objective, distil_objective = objectives(recipe)
    torch.manual_seed(recipe.seed)
    dense = Decoder(Architecture()).to(device)
    records = {"dense": stages.run(recipe.dense, dense, dense_objective, prepared.rows, folder)}
    target = upcycled(dense, recipe.experts, recipe.top_k, recipe.redrawn, recipe.seed).to(device)
    records["target"] = stages.run(recipe.target, target, sparse_objective, prepared.rows, folder)
    records["draft"] = stages.run(recipe.draft, dense, distil_objective(target), prepared.rows, folder)
    return records


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("models/checkpoints"))
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    # Attention weights of a trained model underflow to subnormal numbers, which take a processor ten times as long.
    # Set before any thread pool starts: threads inherit it.
    torch.set_flush_denormal(True)
    train(Recipe(), arguments.folder, arguments.device)


if __name__ == "__main__":
    main()
