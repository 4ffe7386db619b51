"""Exact match of the number that an answer ends in: what stands behind `####`, else the last number of the text.

Numbers are compared by value: `$1,200.00` is `1200`. An answer without a number is wrong, not unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import datasets
import evaluate

NUMBER = re.compile(r"-?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|-?\$?\.\d+")


class NumberMatch(evaluate.Metric):  # type: ignore[misc]
    """Compares the numbers of predictions with those of references."""

    def _info(self) -> Any:
        return evaluate.MetricInfo(
            description=str(__doc__),
            citation="arXiv 2110.14168",
            inputs_description="predictions, references: texts that end in a number",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """Return the share that is right as `accuracy`, and `accuracy_scores`, one per prediction."""
        pairs = zip(predictions, references, strict=True)
        scores = [float(extract(answer) is not None and extract(answer) == extract(right)) for answer, right in pairs]
        return {"accuracy": sum(scores) / len(scores) if scores else None, "accuracy_scores": scores}


def extract(text: str) -> Decimal | None:
    """Return the number of an answer."""
    marked = re.search(rf"####\s*({NUMBER.pattern})", text)
    found = [marked[1]] if marked else NUMBER.findall(text)
    return Decimal(found[-1].replace("$", "").replace(",", "")) if found else None
