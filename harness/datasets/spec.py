"""What a dataset is: where its file comes from, what a row holds, the prompt made of it, and its scorer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.bench import DatasetConfig
from harness.datasets import fences

Row = Mapping[str, Any]
Located = tuple[str, Row]
"""A row and where it stands, e.g. `test.jsonl, line 3`."""


@dataclass(frozen=True, slots=True)
class Hub:
    """One file of a dataset repository of the Hugging Face hub, pinned to a commit.

    The commit fixes the content; `sha256` is checked besides where it is known.
    """

    repo: str
    revision: str
    file: str
    sha256: str | None = None

    @property
    def command(self) -> str:
        """What fetches it."""
        return f"hf download {self.repo} {self.file} --repo-type dataset --revision {self.revision}"


@dataclass(frozen=True, slots=True)
class Package:
    """A data file inside an installed Python package."""

    module: str
    file: str
    sha256: str
    command: str
    """What installs it."""


@dataclass(frozen=True, slots=True)
class Generated:
    """Rows made by a program of this project."""

    make: Callable[[DatasetConfig], Iterable[Row]]


@dataclass(frozen=True, slots=True)
class Own:
    """A file of the user's."""


@dataclass(frozen=True, slots=True)
class Code:
    """Outputs are programs: `program(row, completion)` raises nothing exactly if the completion is right."""

    program: Callable[[Row, str], str]


@dataclass(frozen=True, slots=True)
class Number:
    """Outputs end in a number, which must equal that of `reference(row)`."""

    reference: Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class Choice:
    """Outputs name a letter, which must be `reference(row)`."""

    reference: Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class Summary:
    """Outputs are compared with the summary `reference(row)`."""

    reference: Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class Text:
    """Nothing is right or wrong: what counts is how likely the system finds the text `reference(row)`."""

    reference: Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class Unscored:
    """Outputs that no program can judge, and why."""

    reason: str


Task = Code | Number | Choice | Summary | Text | Unscored


def as_it_is(rows: Iterable[Located]) -> Iterable[Located]:
    """Return the rows: each is a problem."""
    return rows


@dataclass(frozen=True, slots=True)
class Spec:
    """A dataset.

    Attributes:
        about: one line for people, with the paper.
        columns: what a row must hold, and of which type.
        prompt: the text to continue, of a row.
        id: of a row and its number from 0; must be unique.
        stop: a completion ends, for its scorer, before the first of these. Generation goes on: what is timed does
            not depend on the text.
        problems: from the file's rows to problems, where they are not the same.
    """

    name: str
    about: str
    source: Hub | Package | Generated | Own
    columns: Mapping[str, type]
    prompt: Callable[[Row], str]
    id: Callable[[Row, int], str]
    task: Task
    stop: tuple[str, ...] = ()
    problems: Callable[[Iterable[Located]], Iterable[Located]] = as_it_is

    def completion(self, text: str) -> str:
        """Cut an output where its stop rules say; of a program, take the code out of its fences first (`fences@2`).

        Code that defines its function anew is not cut: it replaces what the prompt began.
        """
        if isinstance(self.task, Code):
            text, whole = fences.code(text)
            if whole:
                return f"\n{text}"
        return text[: min((at for word in self.stop if (at := text.find(word)) >= 0), default=len(text))]
