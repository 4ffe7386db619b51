"""What accuracy is, per task, and what two systems' accuracies are compared by."""

from __future__ import annotations

from harness.datasets.fences import FENCES
from harness.metrics.base import Definition

PASS_AT_1 = Definition(
    "pass_at_1@3",
    "-",
    "higher",
    f"share of problems whose output, code taken out of its fences ({FENCES}), passes the tests, mean over repeats",
)
ACCURACY = Definition("accuracy@1", "-", "higher", "share of prompts whose output gives the right answer")
ROUGE_1 = Definition("rouge_1@1", "-", "higher", "mean F-measure of words shared with the reference, stemmed")
ROUGE_2 = Definition("rouge_2@1", "-", "higher", "mean F-measure of word pairs shared with the reference, stemmed")
ROUGE_L = Definition("rouge_l@1", "-", "higher", "mean F-measure of the longest common subsequence of words, stemmed")
SCORES = {
    "pass_at_1": PASS_AT_1, "accuracy": ACCURACY, "rouge_l": ROUGE_L, "rouge_1": ROUGE_1, "rouge_2": ROUGE_2,
}  # fmt: skip
"""By metric id; of those that a task has, the first is its headline."""
BINARY = ("pass_at_1", "accuracy")
"""Scores that are right or wrong on each prompt: what McNemar's test is about."""
LOST = Definition("score_lost@1", "prompts", "lower", "right by the reference system only, first repeat")
GAINED = Definition("score_gained@1", "prompts", "neither", "right by this system only, first repeat")
MCNEMAR = Definition(
    "mcnemar_p@1", "-", "neither", "exact McNemar test, two-sided: chance of so uneven a split of lost and gained"
)
DIFFERENCE = Definition(
    "score_difference@1", "-", "higher", "score less that of the reference system, paired over prompts"
)
VERDICT = Definition("verdict@1", "-", "neither", "share of outputs whose program ended like this in the sandbox")
ALL = (*SCORES.values(), DIFFERENCE, LOST, GAINED, MCNEMAR, VERDICT)
