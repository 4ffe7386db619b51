"""A user's own prompts, JSON lines or Parquet: rows with `prompt` and, optionally, `id`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.datasets.spec import Located, Own, Spec, Unscored


def named(rows: Iterable[Located]) -> Iterator[Located]:
    """Give rows without an id that of their line, e.g. `line-3`."""
    for where, row in rows:
        yield where, {"id": where.rpartition(", ")[2].replace(" ", "-"), **row}


SPEC = Spec(
    name="jsonl",
    about="your own prompts",
    source=Own(),
    columns={"prompt": str},
    prompt=lambda row: str(row["prompt"]),
    id=lambda row, number: str(row["id"]),
    task=Unscored("your own prompts have no answers to compare with"),
    problems=named,
)
