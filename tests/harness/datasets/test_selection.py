"""Which prompts are measured, and on which systems warm up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from harness import datasets
from harness.config.bench import DatasetConfig, MeasureConfig
from harness.datasets import Prompt, Selection
from systems.api import BadInput
from tests.harness.fake import FakePair

PROMPTS = [Prompt(f"p{number}", "word" * (1 + number % 7)) for number in range(100)]
LONG = [*PROMPTS, *(Prompt(f"long{number}", "x" * 700) for number in range(100))]
DATASET = DatasetConfig("jsonl", limit=10)
MEASURE = MeasureConfig(warmup=4)


def chosen(prompts: Sequence[Prompt] = PROMPTS, warmup: int = 4, **dataset: Any) -> Selection:
    pair: Any = FakePair()
    return datasets.select(prompts, pair, replace(DATASET, **dataset), replace(MEASURE, warmup=warmup))


def ids(selection: Selection) -> tuple[list[str], list[str]]:
    return [request.id for request in selection.requests], [request.id for request in selection.warmup]


def test_a_sample_and_not_the_first_in_the_order_of_the_dataset() -> None:
    measured, warmup = ids(chosen())
    order = [prompt.id for prompt in PROMPTS]
    for some, count in ((measured, 10), (warmup, 4)):
        assert len(some) == count
        assert all(order.index(one) < order.index(two) for one, two in pairwise(some))
    assert not {*measured} & {*warmup}
    assert {*measured} != {*order[:10]}


def test_the_seed_of_the_dataset_draws_it() -> None:
    assert ids(chosen()) == ids(chosen(seed=0))
    drawn = [ids(chosen(seed=seed)) for seed in range(200)]
    assert len({tuple(measured) for measured, _ in drawn}) == 200
    counts = [sum(prompt.id in measured for measured, _ in drawn) for prompt in PROMPTS]
    assert min(counts) > 5  # of 20 on average
    assert max(counts) < 40


def test_a_smaller_sample_is_part_of_a_larger_one() -> None:
    """What was recorded for the larger one, its warm-up included, can be replayed with the smaller."""
    recorded = ids(chosen(limit=20))
    for limit in (1, 5, 19):
        measured, warmup = ids(chosen(limit=limit))
        assert {*measured} < {*recorded[0]}
        assert {*warmup} <= {*recorded[0], *recorded[1]}


def test_other_prompts_in_the_file_change_no_lot() -> None:
    measured, warmup = ids(chosen())
    without = [prompt for prompt in PROMPTS if prompt.id in (*measured, *warmup)]
    assert ids(chosen(without)) == (measured, warmup)


def test_no_limit_takes_all_that_the_warm_up_leaves() -> None:
    measured, warmup = ids(chosen(limit=None))
    assert (len(measured), len(warmup)) == (96, 4)
    assert {*measured, *warmup} == {prompt.id for prompt in PROMPTS}
    assert len(chosen(limit=None, warmup=0).requests) == 100


@pytest.mark.parametrize(("limit", "warmup"), [(97, 4), (101, 0), (None, 100)])
def test_the_measured_never_warm_up(limit: int | None, warmup: int) -> None:
    with pytest.raises(BadInput, match=r"100 prompts of jsonl fit .*`measure\.warmup`") as refused:
        chosen(limit=limit, warmup=warmup)
    assert limit is None or f"`dataset.limit` {limit}" in str(refused.value)


def test_what_is_too_long_is_left_out_by_name_or_refused() -> None:
    found = chosen(LONG, skip_too_long=True)
    assert len(found.requests) == 10
    assert found.skipped
    assert all(id.startswith("long") for id in found.skipped)
    assert all(request.id.startswith("p") for request in (*found.requests, *found.warmup))
    with pytest.raises(BadInput, match="leave such prompts out"):
        chosen(LONG)


def test_the_same_exercises_are_drawn_from_whatever_the_limit() -> None:
    few, more = (datasets.load(DatasetConfig("exercises", limit=limit)) for limit in (3, 150))
    assert few == more
    many = datasets.load(DatasetConfig("exercises", limit=300))
    assert len(many) >= 300 + 32
    assert many[: len(few)] == few


def test_a_token_that_the_model_lacks_is_another_models() -> None:
    pair: Any = FakePair()
    pair.vocab_size = 110
    with pytest.raises(BadInput, match=r"prompt 'p\d+' has the token \d+, and the model knows 110; `model.tokenizer`"):
        datasets.select(PROMPTS, pair, DATASET, MEASURE)
