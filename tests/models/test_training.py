"""The recipe's parts: data order, schedule, resumption after a kill, losses that mean what they say."""

from __future__ import annotations

import ast
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
import torch.nn.functional as F
from torch import Tensor

from models import corpus, stages
from models.data import Rows, Tokens
from models.objectives import RoutingWeights, distillation_loss, next_token_loss, routing_loss
from models.optimizer import orthogonalised
from models.stages import Stage
from models.transformer import Architecture, Decoder, Trace

STAGE = Stage("tiny", 12 * 64, 64, 0.01, 1e-3, context=16, long_context=32)


def windows(stream: Tokens, *contexts: int) -> dict[int, Rows]:
    """Windows of each context over a stream; weights grow along a window, so that none is all the same."""
    found = {}
    for context in contexts:
        count = len(stream) // (context + 1)
        tokens = stream[: count * (context + 1)].reshape(count, context + 1)
        found[context] = Rows(tokens, np.tile(np.linspace(0, 1, context, dtype=np.float16), (count, 1)))
    return found


ROWS = windows(np.random.default_rng(0).integers(0, 64, 5000).astype(np.uint16), 16, 32)


def tiny() -> Decoder:
    torch.manual_seed(0)
    return Decoder(Architecture(vocab=64, hidden=32, layers=2, intermediate=16, heads=2, kv_heads=1, head_dim=16))


def objective(model: Decoder, tokens: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, float]]:
    hidden, _ = model(tokens[:, :-1])
    loss = next_token_loss(hidden, tokens[:, 1:], weights, model.embedding)
    return loss, {"loss": loss.item()}


def test_a_killed_stage_ends_as_the_undisturbed_one(tmp_path: Path) -> None:
    whole = tiny()
    stages.run(STAGE, whole, objective, ROWS, tmp_path / "whole")
    calls = 0

    def dies(model: Decoder, tokens: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, float]]:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return objective(model, tokens, weights)

    with pytest.raises(KeyboardInterrupt):
        stages.run(STAGE, tiny(), dies, ROWS, tmp_path / "cut", save_every=0.0)
    resumed = tiny()
    record = stages.run(STAGE, resumed, objective, ROWS, tmp_path / "cut")
    assert record["step"] == STAGE.steps
    for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def test_an_interrupted_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    stages.save(path, {"step": 1})

    def broken(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        stages.write_atomically(path, broken)
    assert torch.load(path, weights_only=True) == {"step": 1}


def test_training_learns(tmp_path: Path) -> None:
    rows = windows(np.tile(np.arange(50, dtype=np.uint16), 100), 32)
    stage = Stage("learns", 100 * 128, 128, 0.02, 3e-3, context=32, long_share=0.0)
    record = stages.run(stage, tiny(), objective, rows, tmp_path)
    assert record["log"][-1]["loss"] < 0.3 * record["log"][0]["loss"]


def test_workers_take_different_batches_and_end_with_the_same_weights(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(train_together, (tmp_path,), nprocs=2)  # type: ignore[attr-defined]
    first, second = (torch.load(tmp_path / f"worker{rank}.pt", weights_only=True) for rank in (0, 1))
    assert (first["found"], second["found"]) == (False, True), "what one makes the others find"
    assert first["steps"] == second["steps"] == STAGE.steps
    assert not set(first["seen"]) & set(second["seen"]), "every batch is of one worker"
    assert len(first["seen"]) + len(second["seen"]) == STAGE.steps
    for mine, theirs in zip(first["model"].values(), second["model"].values(), strict=True):
        assert torch.equal(mine, theirs)
    alone = tiny()
    stages.run(STAGE, alone, objective, ROWS, tmp_path / "alone")
    assert not torch.equal(alone.embedding, first["model"]["embedding"])


def train_together(rank: int, folder: Path) -> None:
    """One of two workers: trains a stage, and leaves its weights and which batches it saw."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    seen: list[float] = []
    made = folder / "made"
    with stages.Workers.here().first_ahead():
        found = made.exists()
        time.sleep(0.2 * (1 - rank))
        made.touch()

    def noting(model: Decoder, tokens: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, float]]:
        seen.append(float((tokens.double() * torch.arange(1, tokens.numel() + 1).view_as(tokens)).sum()))
        return objective(model, tokens, weights)

    model = tiny()
    record = stages.run(STAGE, model, noting, ROWS, folder / "together")
    left = {
        "found": found,
        "steps": record["step"],
        "seen": seen,
        "model": {n: p.detach() for n, p in model.named_parameters()},
    }
    torch.save(left, folder / f"worker{rank}.pt")
    torch.distributed.destroy_process_group()


def test_rate_warms_up_and_ends_at_the_final_rate() -> None:
    stage = Stage("s", 100_000, 100, 1.0, 1.0, warmup=10, decay=0.5, final_rate=0.2)
    assert stage.rate(0) == pytest.approx(0.1)
    assert stage.rate(400) == 1.0
    assert stage.rate(stage.steps) == pytest.approx(0.2)


def test_the_last_steps_of_a_stage_have_the_long_context() -> None:
    shapes = [stage_batch.shape for step in range(STAGE.steps) for stage_batch in STAGE.batch(ROWS, step)]
    short, long = [(4, 17), (4, 16)], [(2, 33), (2, 32)]
    assert shapes == short * 9 + long * 3


def test_newton_schulz_orthogonalises() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(2, 3, 64, 32)))
    assert values.min() > 0.8
    assert values.max() < 1.2


def trace(chosen: list[list[int]], experts: int = 4) -> Trace:
    ids = torch.tensor(chosen)[None]
    logits = torch.full((1, len(chosen), experts), -4.0).scatter(-1, ids, 4.0)
    return Trace(torch.zeros(1, len(chosen), 8), logits, ids)


def test_routing_loss_prefers_balance_and_asks_for_locality_only_below_the_goal() -> None:
    local, jumping = trace([[0, 1], [0, 1], [2, 3], [2, 3]]), trace([[0, 1], [2, 3], [0, 1], [2, 3]])
    collapsed = trace([[0, 1]] * 4)
    weights = RoutingWeights(balance=1.0, z=0.0, locality=0.0)
    assert routing_loss([collapsed], weights)[0] > routing_loss([local], weights)[0] + 0.5
    _total, reuse, busiest = routing_loss([local], weights)
    assert reuse == pytest.approx(2 / 3)
    assert busiest == pytest.approx(0.25)
    asked = RoutingWeights(balance=0.0, z=0.0, locality=1.0, reuse_goal=1.0)
    assert routing_loss([local], asked)[0] < routing_loss([jumping], asked)[0]
    assert routing_loss([local], RoutingWeights(0.0, 0.0, 1.0, reuse_goal=0.5))[0] == 0


def test_losses_are_means_over_the_weights() -> None:
    torch.manual_seed(0)
    hidden, embedding, targets = torch.randn(2, 3, 8), torch.randn(20, 8), torch.randint(20, (2, 3))
    each = F.cross_entropy((hidden @ embedding.T).flatten(0, 1), targets.flatten(), reduction="none").view(2, 3)
    even = next_token_loss(hidden, targets, torch.full((2, 3), 0.3), embedding)
    torch.testing.assert_close(even, each.mean())
    weights = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
    weighted = next_token_loss(hidden, targets, weights, embedding)
    torch.testing.assert_close(weighted, (2 * each[0, 1] + each[1, 0]) / 3)


def test_distillation_loss_is_zero_on_the_targets_own_distribution_wherever_it_has_weight() -> None:
    torch.manual_seed(0)
    hidden, embedding = torch.randn(2, 3, 8), torch.randn(20, 8)
    own, other = hidden @ embedding.T, torch.randn(2, 3, 20)
    weights = torch.tensor([[1.0, 0.3, 0.0], [2.0, 1.0, 0.0]])
    assert distillation_loss(hidden, torch.ones(2, 3), embedding, own + 3.0).abs() < 1e-5
    assert distillation_loss(hidden, weights, embedding, other) > 0.1
    mixed = torch.cat([own[:, :2], other[:, 2:]], 1)
    assert distillation_loss(hidden, weights, embedding, mixed).abs() < 1e-5


def test_library_text_is_python_without_licence_headers() -> None:
    files: dict[str, Any] = dict(corpus.library_files())
    assert len(files) > 200
    assert not any("test" in Path(name).parts for name in files)
    assert 0 < sum(corpus.is_held_out(name) for name in files) < 0.06 * len(files)
    ast.parse(files["textwrap.py"])
    assert "Copyright" not in files["textwrap.py"][:300]
    assert "def dedent" in files["textwrap.py"]
