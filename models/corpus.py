"""Training text: the running interpreter's standard library and generated exercises, as documents."""

from __future__ import annotations

import hashlib
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.exercises import Exercise, generate

EXCLUDED_FOLDERS = frozenset(
    {"site-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip"}
    | {"encodings", "pydoc_data", "__pycache__"}  # tables, and no source
)
HELD_OUT_ONE_IN = 50
EXERCISE_HELD_OUT = 400
LICENCE = re.compile(r"copyright|licen[cs]e|all rights reserved|permission", re.IGNORECASE)


@dataclass(frozen=True)
class Corpus:
    """Documents to train on, and the two held-out sets whose losses are reported apart."""

    library: list[str]
    library_held_out: list[str]
    exercises: list[Exercise]
    exercises_held_out: list[str]


def build(exercises: int, seed: int, brief: float = 0.0) -> Corpus:
    """The corpus; deterministic for one interpreter version, `exercises`, `seed` and `brief` (see `generate`)."""
    files = list(library_files())
    return Corpus(
        [text for name, text in files if not is_held_out(name)],
        [text for name, text in files if is_held_out(name)],
        list(generate("train", exercises, seed, brief)),
        [solved(exercise) for exercise in generate("held_out", EXERCISE_HELD_OUT, seed)],
    )


def is_held_out(name: str) -> bool:
    """Whether the library file `name` is kept from training: a hash of its name, so that it never changes sides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % HELD_OUT_ONE_IN == 0


def solved(exercise: Exercise) -> str:
    """An exercise with its solution, as the model should complete it."""
    return exercise.prompt + exercise.canonical_solution


def library_files() -> Iterator[tuple[str, str]]:
    """(relative name, cleaned source) of each distinct standard library module that is prose-like code."""
    root = Path(sysconfig.get_paths()["stdlib"])
    seen: set[bytes] = set()
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if EXCLUDED_FOLDERS.intersection(relative.parts) or relative.name.startswith("_sysconfigdata"):
            continue
        text = clean(path.read_text(encoding="utf-8", errors="replace"))
        digest = hashlib.sha256(text.encode()).digest()
        if len(text) < 200 or digest in seen or looks_like_a_table(text):
            continue
        seen.add(digest)
        yield relative.as_posix(), text


def clean(text: str) -> str:
    """Source with tabs expanded, trailing blanks cut, and a licence comment at the top removed.

    A licence header is the most repeated text of the library: a small model that has seen it recites it.
    """
    lines = [line.rstrip() for line in text.expandtabs(4).splitlines()]
    kept: list[str] = []
    comment: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("#"):
            comment.append(line)
            continue
        if not any(LICENCE.search(part) for part in comment):
            kept.extend(comment)
        comment = []
        kept.append(line)
    return "\n".join(kept).strip("\n") + "\n"


def looks_like_a_table(text: str) -> bool:
    """Whether a file is mostly data: few of its characters are letters or spaces."""
    return sum(char.isalpha() or char.isspace() for char in text) < 0.6 * len(text)
