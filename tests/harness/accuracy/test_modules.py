"""The metric modules, loaded as users of `evaluate` load them."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import pytest

from harness.accuracy.scorers import MODULES, Judged, by_prompt, module


def _source(name: str) -> Any:
    """A module's functions, without `evaluate` around them."""
    spec = importlib.util.spec_from_file_location(name, MODULES / name / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_pass_at_k_is_unbiased_and_unknown_with_too_few_samples() -> None:
    estimate = _source("pass_at_k").estimate
    assert estimate(1, 1, 1) == 1.0
    assert estimate(4, 1, 2) == pytest.approx(1 - math.comb(3, 2) / math.comb(4, 2))
    assert estimate(200, 3, 100) == pytest.approx(1 - math.comb(197, 100) / math.comb(200, 100))
    assert estimate(4, 3, 2) == 1.0
    assert math.isnan(estimate(1, 1, 2))
    assert math.isnan(estimate(0, 0, 1))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1 + 1 = 2\n#### 2", 2), ("It costs $1,200.00.", 1200), ("3 apples and 4", 4), ("#### -7 and then 9", -7),
        ("none", None), ("0.50", 0.5), ("1,2,3", 3), ("about .5", 0.5),
    ],
)  # fmt: skip
def test_numbers(text: str, number: float | None) -> None:
    found = _source("number_match").extract(text)
    assert (None if found is None else float(found)) == number


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        (" B", "B"), (" B. because", "B"), ("(C)", "C"), ("The answer is (D).", "D"), ("Answer: A", "A"),
        (" A dog barks", None), ("It is (A), surely", "A"), ("", None), ("Because", None),
    ],
)  # fmt: skip
def test_letters(text: str, letter: str | None) -> None:
    assert _source("letter_match").extract(text) == letter


def test_all_load_into_evaluate_and_compute() -> None:
    samples = module("pass_at_k").compute(predictions=[[True, False], [False, False]], k=[1, 2, 3])
    assert (samples["pass_at_1"], samples["pass_at_2"]) == (0.25, 0.5)
    assert math.isnan(samples["pass_at_3"])
    assert samples["pass_at_1_scores"] == [0.5, 0.0]
    judged = [Judged(id, repeat, {"pass_at_1": right})
              for id, repeat, right in [("a", 0, 1.0), ("b", 0, 0.0), ("a", 1, 0.0), ("b", 1, 0.0)]]  # fmt: skip
    assert by_prompt(judged) == {"pass_at_1": {"a": 0.5, "b": 0.0}}
    numbers = module("number_match").compute(predictions=["4", "5"], references=["#### 4", "#### 4"])
    assert numbers == {"accuracy": 0.5, "accuracy_scores": [1.0, 0.0]}
    letters = module("letter_match").compute(predictions=["A", "B"], references=["A", "A"])
    assert letters["accuracy_scores"] == [1.0, 0.0]
    rouge = module("rouge_scores").compute(predictions=["the cat sat"], references=["the cat sat down"])
    assert (rouge["rouge_1"], rouge["rouge_2"], rouge["rouge_l"]) == pytest.approx((6 / 7, 4 / 5, 6 / 7))
    text = module("perplexity").compute(predictions=[[math.log(0.5)] * 3, [math.log(0.125)]])
    assert text["perplexity"] == pytest.approx(2 ** (6 / 4))
    assert text["perplexity_scores"] == pytest.approx([2.0, 8.0])
