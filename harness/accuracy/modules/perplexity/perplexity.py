"""Perplexity: exp of the mean negative log-probability of a text's tokens, pooled over texts.

It depends on the tokenizer: only models that share one can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate


class Perplexity(evaluate.Metric):  # type: ignore[misc]
    """Takes natural-log probabilities; it runs no model itself."""

    def _info(self) -> Any:
        return evaluate.MetricInfo(
            description=str(__doc__),
            citation="Jelinek et al., 1977. Perplexity: a measure of the difficulty of speech recognition tasks",
            inputs_description="predictions: per text, the log-probability of each token given those before",
            features=datasets.Features({"predictions": datasets.Sequence(datasets.Value("float64"))}),
        )

    def _compute(self, predictions: Sequence[Sequence[float]]) -> dict[str, Any]:
        """Return `perplexity` over all tokens, and `perplexity_scores`, one per text."""
        return {
            "perplexity": _perplexity([value for text in predictions for value in text]),
            "perplexity_scores": [_perplexity(text) for text in predictions],
        }


def _perplexity(values: Sequence[float]) -> float:
    return math.exp(-math.fsum(values) / len(values)) if values else math.nan
