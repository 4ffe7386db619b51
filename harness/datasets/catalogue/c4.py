"""C4 (arXiv 1910.10683), a sample: the first of eight validation files; opening words are continued."""

from __future__ import annotations

from harness.datasets.catalogue.wikitext2 import opening
from harness.datasets.spec import Hub, Spec, Text

SPEC = Spec(
    name="c4",
    about="a sample of cleaned web pages to continue (arXiv 1910.10683)",
    source=Hub("allenai/c4", "1588ec454efa1a09f29cd18ddd04fe05fc8653a2", "en/c4-validation.00000-of-00008.json.gz"),
    columns={"text": str},
    prompt=lambda row: opening(row["text"]),
    id=lambda row, number: f"c4/{number}",
    task=Text(lambda row: str(row["text"])),
)
