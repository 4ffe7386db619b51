"""Accuracy in the table: one section, and what must be said below it."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records.summary_file import Row
from harness.tables.columns import Column, Section, fixed, known, section

HEADLINES = {"pass_at_1": "pass@1", "accuracy": "accuracy", "rouge_l": "ROUGE-L"}
FLIPS = (
    Column("lost", "score_lost", fixed(0)),
    Column("gained", "score_gained", fixed(0)),
    Column("McNemar p", "mcnemar_p", fixed(3)),
)
DIFFERENCE = Column("difference", "score_difference", fixed(3), interval=True)


def sections(rows: Sequence[Row]) -> list[Section]:
    """Return the table of accuracies; none where nothing was scored."""
    headline = [Column(text, id, fixed(3), interval=True) for id, text in HEADLINES.items()]
    flips = [column for column in FLIPS if known(rows, column)]
    # Where answers are right or wrong, flips say all that a difference does, and 80 columns hold them.
    shown = [column for column in (*headline, *(flips or [DIFFERENCE])) if known(rows, column)]
    return [section(f"Accuracy on {rows[0]['dataset']}", rows, shown)] if shown else []


def remarks(rows: Sequence[Row]) -> list[str]:
    """Say why accuracy is unknown, or which system others are compared with and how programs ended."""
    unknown = dict.fromkeys(_noted(rows, "accuracy", "reason"))
    texts = [f"accuracy: unknown: {reason}" for reason in unknown]
    if over := _noted(rows, "score_difference", "over"):
        texts.append(f"what is lost and gained, the difference and McNemar's test are over {over[0]}")
    return texts + [f"programs ended {ended}: {', '.join(names)}" for ended, names in _endings(rows).items()]


def _noted(rows: Sequence[Row], id: str, note: str) -> list[str]:
    entries = [row["metrics"].get(id, {}) for row in rows]
    return [entry[note] for entry in entries if note in entry]


def _endings(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the systems by how their programs ended, e.g. `9 failed, 7 passed`."""
    found: dict[str, list[str]] = {}
    for row in rows:
        shares = {id: entry for id, entry in row["metrics"].items() if id.startswith("verdict_")}
        counts = {id.removeprefix("verdict_"): round(one["value"] * one["n"]) for id, one in shares.items()}
        if counts:
            text = ", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in sorted(counts))
            found.setdefault(text, []).append(row["system"])
    return found
