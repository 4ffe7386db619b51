"""Multiple choice: the letter that an answer names, at its start, after "answer is" or in brackets.

An answer without a letter is wrong, not unknown; "A" that begins a sentence is an article and no answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

PLACES = (
    re.compile(r"[Aa]nswer(?: is)?:?\s*\(?([A-J])\b"),
    re.compile(r"^\W*([A-J])\b(?!\s+[a-z])"),
    re.compile(r"\(([A-J])\)"),
)


class LetterMatch(evaluate.Metric):  # type: ignore[misc]
    """Compares the letters of predictions with references."""

    def _info(self) -> Any:
        return evaluate.MetricInfo(
            description=str(__doc__),
            citation="arXiv 2009.03300",
            inputs_description="predictions: answers; references: letters",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """Return the share that is right as `accuracy`, and `accuracy_scores`, one per prediction."""
        scores = [float(extract(text) == letter) for text, letter in zip(predictions, references, strict=True)]
        return {"accuracy": sum(scores) / len(scores) if scores else None, "accuracy_scores": scores}


def extract(text: str) -> str | None:
    """Return the letter of an answer."""
    return next((found[1] for place in PLACES if (found := place.search(text))), None)
