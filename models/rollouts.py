"""What the target writes by itself, for the draft to learn: on-policy distillation (Agarwal et al. 2024).

A draft is judged on the target's own greedy outputs, for prompts of which neither has seen the like. The prompts here
have HumanEval's form and none of its content: signatures and docstrings of the standard library, or of one exercise
with another's docstring, with the examples of an exercise; and whole exercises.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from rich.progress import track
from transformers import PreTrainedTokenizerFast

from models import corpus, export
from models.data import LossWeights, Rows, Tokens, encode
from models.exercises import Exercise, generate, opened
from models.transformer import Decoder

EXAMPLES_SHOWN = re.compile(r"\n\s*(>>>|Examples?:|For example:|\w+\(.*\) ==)")
FEWEST_WORDS, MOST_WORDS = 4, 80


def prompts(count: int, seed: int) -> list[str]:
    """`count` prompts: two fifths library functions, two fifths exercises with another's docstring, and exercises."""
    rng = random.Random(f"rollouts/{seed}")
    exercises = list(generate("train", 2 * count, seed))
    functions = list(library_functions())
    made = []
    for number in range(count):
        own, other = exercises[2 * number : 2 * number + 2]
        kind = rng.random()
        if kind < 0.4:
            head, text = rng.choice(functions)
            made.append(_prompt(head, text, own, rng))
        elif kind < 0.8:
            head, text = own.prompt.split('"""')[0].rstrip(), _statement(other)
            made.append(_prompt(head, text, rng.choice([own, other]), rng))
        else:
            made.append(own.prompt)
    return made


def library_functions() -> Iterator[tuple[str, str]]:
    """(signature, first words of the docstring) of the library's functions that have both; none that is held out."""
    for name, source in corpus.library_files():
        if corpus.is_held_out(name):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
                arguments = [argument.arg for argument in node.args.args if argument.arg not in ("self", "cls")]
                words = EXAMPLES_SHOWN.split(f"\n{text}")[0].split()[:MOST_WORDS]
                if 1 <= len(arguments) <= 3 and len(words) >= FEWEST_WORDS and not node.name.startswith("__"):
                    yield f"def {node.name}({', '.join(arguments)}):", " ".join(words).replace('"""', "'")


def _statement(exercise: Exercise) -> str:
    return " ".join(EXAMPLES_SHOWN.split(exercise.prompt.split('"""')[1])[0].split())


def _prompt(head: str, text: str, shown: Exercise, rng: random.Random) -> str:
    """A signature, a docstring and an exercise's examples under the function's name."""
    opening = opened(text, rng)
    found = EXAMPLES_SHOWN.search(body := shown.prompt.split('"""')[1])
    examples = body[found.start() :].strip("\n").rstrip() if found and rng.random() < 0.8 else ""
    name = re.findall(r"def (\w+)", head)[-1]
    lines = f"\n{examples.replace(shown.entry_point, name)}" if examples else ""
    return f'{head}\n{opening}{lines}\n    """\n'


def rollouts(
    target: Decoder, known: PreTrainedTokenizerFast, texts: Sequence[str], new_tokens: int = 64, batch: int = 64
) -> list[tuple[Tokens, Tokens]]:
    """(prompt, greedy continuation up to its end) of each text, by transformers' own loop."""
    model = export.export(target, known.eos_token_id, torch.float32)
    order = sorted(encode(texts, known), key=len)
    found = []
    for start in track(range(0, len(order), batch), "the target writes"):
        several = order[start : start + batch]
        longest = max(len(tokens) for tokens in several)
        ids = torch.full((len(several), longest), known.eos_token_id)
        seen = torch.zeros_like(ids)
        for row, tokens in enumerate(several):
            ids[row, longest - len(tokens) :] = torch.from_numpy(tokens.astype(np.int64))
            seen[row, longest - len(tokens) :] = 1
        with torch.no_grad():
            written = model.generate(ids, attention_mask=seen, max_new_tokens=new_tokens, do_sample=False)
        for tokens, line in zip(several, written[:, longest:].tolist(), strict=True):
            end = line.index(known.eos_token_id) + 1 if known.eos_token_id in line else len(line)
            found.append((tokens, np.array(line[:end], dtype=np.uint16)))
    return found


def windows(written: Sequence[tuple[Tokens, Tokens]], end: int, context: int, weights: LossWeights) -> Rows:
    """Windows of `context + 1` tokens with whole rollouts, answers weighing as solutions do."""
    rows: list[list[tuple[Tokens, Tokens]]] = []
    room: list[int] = []
    for prompt, answer in sorted(written, key=lambda pair: -len(pair[0]) - len(pair[1])):
        size = len(prompt) + len(answer)
        place = next((number for number, left in enumerate(room) if left >= size), None)
        if place is None:
            if size > context + 1:
                continue
            rows.append([])
            room.append(context + 1)
            place = len(rows) - 1
        rows[place].append((prompt, answer))
        room[place] -= size
    tokens = np.full((len(rows), context + 1), end, dtype=np.uint16)
    weight = np.zeros((len(rows), context + 1), dtype=np.float16)
    for row, several in enumerate(rows):
        at = 0
        for prompt, answer in several:
            middle, after = at + len(prompt), at + len(prompt) + len(answer)
            tokens[row, at:middle], weight[row, at:middle] = prompt, weights.prompt
            tokens[row, middle:after], weight[row, middle:after] = answer, weights.solution
            at = after
    return Rows(tokens, weight[:, 1:])
