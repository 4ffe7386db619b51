"""From outputs to scores: each output is judged by its dataset's task, through a metric module of this folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from harness.datasets.base import Prompt
from harness.datasets.spec import Choice, Code, Number, Spec, Summary, Text, Unscored
from harness.sandbox import Outcome, run_programs

MODULES = Path(__file__).parent / "modules"


class Output(NamedTuple):
    """What a system wrote for a prompt, in one repeat."""

    id: str
    repeat: int
    text: str


class Judged(NamedTuple):
    """An output's prompt and repeat, its scores by metric id, and for programs how they ended and why."""

    id: str
    repeat: int
    scores: dict[str, float]
    verdict: str | None = None
    detail: str | None = None


class Unknown(Exception):
    """Nothing can be said of these outputs; the message says why."""


@cache
def module(name: str) -> Any:
    """Load a metric module of this folder into Hugging Face `evaluate`; nothing is fetched."""
    import evaluate

    return evaluate.load(str(MODULES / name), keep_in_memory=True)


def judge(
    spec: Spec, prompts: Sequence[Prompt], outputs: Mapping[str, Sequence[Output]], console: Console
) -> dict[str, list[Judged]]:
    """Return the judgement of every output by system.

    Raises:
        Unknown: the task has no scorer for outputs.
    """
    task, rows = spec.task, {prompt.id: prompt.row for prompt in prompts}
    if isinstance(task, Unscored):
        raise Unknown(task.reason)
    if isinstance(task, Text):
        raise Unknown("texts have a perplexity instead: python -m harness perplexity")
    if isinstance(task, Code):
        return _execute(spec, task, rows, outputs, console)
    names = {Number: "number_match", Choice: "letter_match", Summary: "rouge_scores"}
    return {
        label: _compare(names[type(task)], [spec.completion(output.text) for output in mine],
                        [task.reference(rows[output.id]) for output in mine], mine)
        for label, mine in outputs.items()
    }  # fmt: skip


def by_prompt(judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """Return scores by metric id and prompt, repeats taken together; programs become pass@1."""
    samples: dict[str, dict[str, list[float]]] = {}
    for one in judged:
        for id, score in one.scores.items():
            samples.setdefault(id, {}).setdefault(one.id, []).append(score)
    return {id: _together(id, mine) for id, mine in samples.items()}


def _together(id: str, samples: Mapping[str, Sequence[float]]) -> dict[str, float]:
    if id != "pass_at_1":
        return {prompt: sum(scores) / len(scores) for prompt, scores in samples.items()}
    right = [[score == 1.0 for score in scores] for scores in samples.values()]
    return dict(zip(samples, module("pass_at_k").compute(predictions=right, k=[1])["pass_at_1_scores"], strict=True))


def _compare(name: str, texts: list[str], references: list[str], outputs: Sequence[Output]) -> list[Judged]:
    found = module(name).compute(predictions=texts, references=references)
    columns = {id.removesuffix("_scores"): scores for id, scores in found.items() if id.endswith("_scores")}
    return [
        Judged(output.id, output.repeat, {id: column[i] for id, column in columns.items()})
        for i, output in enumerate(outputs)
    ]


def _execute(
    spec: Spec,
    task: Code,
    rows: Mapping[str, Mapping[str, Any]],
    outputs: Mapping[str, Sequence[Output]],
    console: Console,
) -> dict[str, list[Judged]]:
    """Run each distinct program once: systems that agree share the verdict."""
    programs = {
        (label, i): task.program(rows[output.id], spec.completion(output.text))
        for label, mine in outputs.items()
        for i, output in enumerate(mine)
    }
    distinct = list(dict.fromkeys(programs.values()))
    ended = dict(zip(distinct, run_programs(distinct, console=console), strict=True))
    return {label: [_passed(output, ended[programs[label, i]]) for i, output in enumerate(mine)]
            for label, mine in outputs.items()}  # fmt: skip


def _passed(output: Output, outcome: Outcome) -> Judged:
    scores = {"pass_at_1": float(outcome.passed)}
    return Judged(output.id, output.repeat, scores, str(outcome.verdict), outcome.detail)
