"""Procedurally generated function-writing problems in HumanEval's record format.

A family (`models.families`) is a template with drawn pieces; (family, pieces) is the *combination*. A hash of the
combination decides the split, so no held-out combination is ever seen in training, in whatever wording, while every
piece and every family is. Names of arguments, wording, doctest examples and test inputs vary freely in both splits.
"""

from __future__ import annotations

import copy
import hashlib
import random
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from models.families import TEMPLATES
from models.families.pieces import Piece
from models.families.template import KINDS, Kind, Template, drawn

Split = Literal["train", "held_out"]

HELD_OUT_SHARE = 0.1
EXAMPLES, ASSERTS = 3, 5
LINE_WIDTH = 96
# Combinations that ask for the same as a HumanEval problem (51 and 30), and names that HumanEval uses: the benchmark
# must not be in the training data, not even in other words.
HUMANEVAL_COMBINATIONS = frozenset({"remove_{p.name}/p=vowels", "{p.name}_numbers/p=positive"})
HUMANEVAL_NAMES = frozenset({"common", "count_up_to", "digits"})
STATEMENTS = (
    "Return {}.",
    "Return {}.",
    "Given {given}, return {}.",
    "Write a function that takes {given} and returns {}.",
    "You are given {given}. Your task is to return {}.",
    "The function should return {}.",
    "Compute {}.",
)
QUESTIONS = (
    "Check if {}.",
    "Return True if {}, and False otherwise.",
    "Given {given}, return True if {}, False otherwise.",
    "Determine whether {}.",
    "Write a function that returns True if {}, False otherwise.",
)


@dataclass(frozen=True)
class Exercise:
    """One problem. `prompt + canonical_solution` is a module; `test` defines `check(candidate)`."""

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    test: str

    def record(self) -> dict[str, str]:
        """The problem as HumanEval stores it."""
        return asdict(self)


def generate(split: Split, count: int, seed: int, brief: float = 0.0) -> Iterator[Exercise]:
    """Yield `count` exercises of `split`; the same arguments give the same exercises.

    A share `brief` of them shows at most one example: of a full prompt's tokens four in five are example values, which
    teach little. Within one call no combination repeats in the held-out split; training repeats combinations in other
    words.
    """
    rng = random.Random(f"{split}/{seed}")
    seen: set[str] = set()
    made = 0
    while made < count:
        template = rng.choice(TEMPLATES)
        pieces = drawn(template, rng)
        combination = _combination(template, pieces)
        if combination in HUMANEVAL_COMBINATIONS or split_of(combination) != split:
            continue
        if split == "held_out" and combination in seen:
            continue
        exercise = _build(f"exercises/{split}/{seed}/{made}", template, pieces, rng, brief)
        if exercise is not None:
            seen.add(combination)
            made += 1
            yield exercise


def split_of(combination: str) -> Split:
    """The split that owns a combination: a stable hash, independent of seeds and of the Python build."""
    digest = hashlib.sha256(combination.encode()).digest()
    return "held_out" if int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32 else "train"


def _combination(template: Template, pieces: dict[str, Piece]) -> str:
    return "/".join([template.name, *(f"{key}={piece.name}" for key, piece in sorted(pieces.items()))])


def _build(
    task_id: str, template: Template, pieces: dict[str, Piece], rng: random.Random, brief: float
) -> Exercise | None:
    """Render one combination, or None where its solution cannot serve the sampled arguments (a draw that clashes)."""
    name = _function_name(template, pieces, rng)
    kinds = [KINDS[kind] for kind in template.kinds.split(",")]
    arguments = _argument_names(kinds, rng)
    slots: dict[str, Any] = {**pieces, **dict(zip("ab", arguments, strict=False)), "f": name}
    solution = textwrap.indent(template.body.format(**slots), "    ") + "\n"
    cases = _cases(name, arguments, solution, kinds, rng)
    if cases is None:
        return None
    shown = (0, 1) if brief and rng.random() < brief else (2, EXAMPLES)
    prompt = _prompt(name, template, kinds, arguments, slots, cases[:EXAMPLES], shown, rng)
    asserts = "".join(f"    assert candidate({given}) == {answer!r}\n" for given, answer in cases[EXAMPLES:])
    return Exercise(task_id, prompt, name, solution, f"def check(candidate):\n{asserts}")


def _function_name(template: Template, pieces: dict[str, Piece], rng: random.Random) -> str:
    """The full name, or (so that the docstring has to be read) only the part that the whole family shares."""
    shared = re.sub(r"_+", "_", re.sub(r"{[^}]*}", "", template.name)).strip("_")
    if len(shared) > 3 and shared not in HUMANEVAL_NAMES and rng.random() < 0.35:
        return shared
    return template.name.format(**pieces)


def _argument_names(kinds: list[Kind], rng: random.Random) -> list[str]:
    names: list[str] = []
    for kind in kinds:
        names.append(rng.choice([name for name in kind.names if name not in names]))
    return names


def _cases(
    name: str, arguments: list[str], solution: str, kinds: list[Kind], rng: random.Random
) -> list[tuple[str, object]] | None:
    """(argument text, answer) pairs for the examples and the asserts, the answers computed by the solution.

    Returns None when the solution raises, or when all answers are equal (the exercise would not tell right from wrong).
    """
    space: dict[str, Any] = {}
    exec(f"def {name}({', '.join(arguments)}):\n{solution}", space)
    solve: Callable[..., object] = space[name]
    cases: list[tuple[str, object]] = []
    for _ in range(EXAMPLES + ASSERTS):
        values = [kind.sample(rng) for kind in kinds]
        text = ", ".join(repr(value) for value in values)
        try:
            cases.append((text, copy.deepcopy(solve(*copy.deepcopy(values)))))
        except (ValueError, IndexError, ZeroDivisionError):
            return None
    return cases if len({repr(answer) for _, answer in cases}) > 1 else None


def _prompt(
    name: str,
    template: Template,
    kinds: list[Kind],
    arguments: list[str],
    slots: dict[str, Any],
    examples: list[tuple[str, object]],
    shown: tuple[int, int],
    rng: random.Random,
) -> str:
    """Imports, signature and docstring; the layout varies as HumanEval's does."""
    typed = rng.random() < 0.7
    signature = ", ".join(
        f"{arg}: {kind.annotation}" if typed else arg for arg, kind in zip(arguments, kinds, strict=True)
    )
    answer = f" -> {template.returns}" if typed else ""
    head = f"def {name}({signature}){answer}:\n"
    needed = [word for word in ("Dict", "List", "Optional", "Tuple") if f"{word}[" in head]
    imports = f"from typing import {', '.join(needed)}\n\n\n" if needed else ""
    given = " and ".join(f"{kind.description} {arg}" for arg, kind in zip(arguments, kinds, strict=True))
    pattern = rng.choice(QUESTIONS if template.returns == "bool" else STATEMENTS)
    text = pattern.format(rng.choice(template.phrases).format(**slots), given=given)
    count = rng.randint(*shown)
    answers = _examples(name, examples[:count], rng) if count else ""
    return f'{imports}{head}{opened(text, rng)}\n{answers}    """\n'


def opened(text: str, rng: random.Random) -> str:
    """The first lines of a docstring: quotes and the wrapped text, on one line or the next."""
    wrapped = textwrap.fill(text, LINE_WIDTH, initial_indent="    ", subsequent_indent="    ")
    return '    """' + (" " + wrapped[4:] if rng.random() < 0.7 else "\n" + wrapped)


def _examples(name: str, examples: list[tuple[str, object]], rng: random.Random) -> str:
    if rng.random() < 0.75:
        return "".join(f"    >>> {name}({given})\n    {answer!r}\n" for given, answer in examples)
    lines = "".join(f"    {name}({given}) == {answer!r}\n" for given, answer in examples)
    return rng.choice(["\n    For example:\n", "    Example:\n", "\n    Examples:\n"]) + lines
