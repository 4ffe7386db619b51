"""WikiText-2 (arXiv 1609.07843), raw: 62 articles; the opening words are continued, the whole text gives perplexity."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from harness.datasets.spec import Hub, Located, Spec, Text

OPENING = 64
"""Words of a text that make the prompt."""
TITLE = re.compile(r" = [^=].* = \n?")


def opening(text: str) -> str:
    """Return the first words of a text, spaces between them kept."""
    found = re.match(rf"(?:\s*\S+){{1,{OPENING}}}", text)
    return found[0] if found else text


def articles(rows: Iterable[Located]) -> Iterator[Located]:
    """Join lines to articles, each of which begins with its title; `row` numbers are those of titles."""
    place, lines = "", list[str]()
    for where, row in rows:
        if TITLE.fullmatch(row["text"]):
            if lines:
                yield place, {"text": "".join(lines)}
            place, lines = where, []
        if lines or row["text"].strip():
            place = place or where
            lines.append(row["text"])
    if lines:
        yield place, {"text": "".join(lines)}


SPEC = Spec(
    name="wikitext2",
    about="articles of Wikipedia to continue (arXiv 1609.07843)",
    source=Hub(
        "Salesforce/wikitext",
        "b08601e04326c79dfdd32d625aee71d232d685c3",
        "wikitext-2-raw-v1/test-00000-of-00001.parquet",
        "5f1bea067869d04849c0f975a2b29c4ff47d867f484f5010ea5e861eab246d91",
    ),
    columns={"text": str},
    prompt=lambda row: opening(row["text"]),
    id=lambda row, number: f"wikitext2/{number}",
    task=Text(lambda row: str(row["text"])),
    problems=articles,
)
