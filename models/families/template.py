"""A template: one family of exercises as a row of text patterns with drawn pieces."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from models.families.pieces import LETTERS, WORDS, Draw, Piece


@dataclass(frozen=True)
class Kind:
    """A kind of argument: annotation, how it is described, its usual names and how to sample a value."""

    annotation: str
    description: str
    names: tuple[str, ...]
    sample: Callable[[random.Random], object]


@dataclass(frozen=True)
class Template:
    """One family. `{a}`, `{b}` are argument names; `{p.words}`, `{p.code}`, `{p.name}` are drawn pieces.

    `phrases` complete "Return ..." (or "Check if ..." where the answer is a bool). The body is unindented Python.
    """

    name: str
    kinds: str
    returns: str
    phrases: tuple[str, ...]
    body: str
    draws: Mapping[str, Draw] = field(default_factory=dict)


def _ints(rng: random.Random) -> list[int]:
    if rng.random() < 0.5:
        return [rng.randint(1, 12) for _ in range(rng.randint(3, 6))]
    return [rng.randint(-20, 30) for _ in range(rng.randint(3, 7))]


def _words(rng: random.Random) -> list[str]:
    return rng.choices(WORDS, k=rng.randint(2, 5))


def _text(rng: random.Random) -> str:
    text = " ".join(rng.choices(WORDS, k=rng.randint(1, 3)))
    return text + str(rng.randint(0, 99)) if rng.random() < 0.3 else text


def _matrix(rng: random.Random) -> list[list[int]]:
    width = rng.randint(2, 3)
    return [[rng.randint(-9, 12) for _ in range(width)] for _ in range(rng.randint(2, 3))]


def _mapping(rng: random.Random) -> dict[str, int]:
    return {key: rng.randint(-5, 25) for key in rng.sample(LETTERS, rng.randint(2, 4))}


KINDS: Mapping[str, Kind] = {
    "ints": Kind("List[int]", "a list of integers", ("numbers", "numbers", "lst", "nums", "values", "arr"), _ints),
    "int": Kind("int", "an integer", ("n", "number", "value", "num"), lambda rng: rng.randint(-30, 100)),
    "count": Kind("int", "a non-negative integer", ("n", "n", "number", "limit"), lambda rng: rng.randint(0, 15)),
    "natural": Kind("int", "a positive integer", ("n", "n", "num", "number"), lambda rng: rng.randint(1, 3000)),
    "size": Kind("int", "a positive integer", ("k", "k", "size", "step"), lambda rng: rng.randint(1, 4)),
    "text": Kind("str", "a string", ("text", "string", "s", "string"), _text),
    "word": Kind("str", "a string", ("word", "string", "s", "text"), lambda rng: rng.choice(WORDS)),
    "words": Kind("List[str]", "a list of strings", ("words", "strings", "words", "items"), _words),
    "matrix": Kind("List[List[int]]", "a list of lists of integers", ("matrix", "grid", "rows", "lists"), _matrix),
    "mapping": Kind("Dict[str, int]", "a dictionary", ("mapping", "d", "scores", "dictionary"), _mapping),
}


def drawn(template: Template, rng: random.Random) -> dict[str, Piece]:
    """One draw of every piece of `template`."""
    return {name: draw(rng) for name, draw in template.draws.items()}
