"""ROUGE-1, -2 and -L F-measures (Lin, 2004) by Google's `rouge_score`, words stemmed, one score per prediction.

`evaluate`'s own ROUGE gives means only; intervals and paired comparisons need each score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
from rouge_score import rouge_scorer

KINDS = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}


class Rouge(evaluate.Metric):  # type: ignore[misc]
    """Compares summaries."""

    def _info(self) -> Any:
        return evaluate.MetricInfo(
            description=str(__doc__),
            citation="Lin, 2004. ROUGE: a package for automatic evaluation of summaries",
            inputs_description="predictions, references: summaries",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """Return means by kind, and `KIND_scores`, one per prediction."""
        scorer = rouge_scorer.RougeScorer(list(KINDS), use_stemmer=True)
        all_scores = [scorer.score(right, text) for text, right in zip(predictions, references, strict=True)]
        found: dict[str, Any] = {}
        for kind, name in KINDS.items():
            scores = [float(one[kind].fmeasure) for one in all_scores]
            found |= {name: sum(scores) / len(scores) if scores else None, f"{name}_scores": scores}
        return found
