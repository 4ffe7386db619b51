"""Accuracy end to end over fakes: scored after all timing, from records, with the paired test and its reasons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.accuracy import grading, scorers
from harness.datasets import SPECS, Prompt
from harness.sandbox import Outcome, Verdict
from tests.harness import fake
from tests.harness.app import App, rows

YES = "accuracy.allow_code_execution=true"
BOTH = "systems=[offload,wrong]"
"""`wrong` changes the fourth token of every output."""


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Programs that were run; each passes unless its text has the changed token."""
    programs: list[str] = []

    def run(sources: Sequence[str], console: Any = None) -> list[Outcome]:
        programs.extend(sources)
        good = {source: "fourth" not in source for source in sources}
        verdicts = [Verdict.PASSED if good[source] else Verdict.FAILED for source in sources]
        return [Outcome(verdict, "said so", 0.1, "fake") for verdict in verdicts]

    monkeypatch.setattr("harness.accuracy.scorers.run_programs", run)
    monkeypatch.setattr("harness.accuracy.consent.isolation", lambda: "fake")
    return programs


class Share:
    """The part of `pass_at_k` that is needed here, without importing `evaluate`."""

    def compute(self, predictions: Sequence[Sequence[bool]], k: Sequence[int]) -> dict[str, list[float]]:
        assert k == [1]
        return {"pass_at_1_scores": [sum(samples) / len(samples) for samples in predictions]}


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.accuracy.scorers.module", lambda name: Share())


@pytest.fixture(autouse=True)
def readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs say what differs, as their tokens are numbers without a meaning; some hold odd line separators."""

    def decode(self: fake.FakePair, tokens: Sequence[int], after: Sequence[int] = ()) -> str:
        true = tokens[3] == 1 + (tokens[0] - 1 + 7 * 3) % 250
        return f"{tokens[0]}\u2028\x85{'' if true else ' fourth'}"

    monkeypatch.setattr(fake.FakePair, "decode", decode)


def test_scored_on_the_timed_outputs_with_the_paired_test(app: App, executed: list[str]) -> None:
    ran = app(BOTH, YES, "output=out")
    found = rows(Path("out/summary.json"))
    right, wrong = (found[name]["metrics"] for name in ("offload", "wrong"))
    assert (right["pass_at_1"]["value"], right["pass_at_1"]["n"]) == (1.0, 4)
    assert right["pass_at_1"]["low"] == pytest.approx(0.025**0.25, rel=1e-5)
    assert wrong["pass_at_1"]["value"] == 0.0
    assert (wrong["score_lost"]["value"], wrong["score_gained"]["value"]) == (4, 0)
    assert (wrong["mcnemar_p"]["value"], wrong["mcnemar_p"]["over"]) == (0.125, "offload")
    assert wrong["score_difference"]["value"] == -1.0
    assert "mcnemar_p" not in right
    assert (right["verdict_passed"]["value"], wrong["verdict_failed"]["value"]) == (1.0, 1.0)
    assert len(executed) == len(set(executed)) == 8
    assert "Accuracy on humaneval" in ran.out
    assert "programs ended 4 failed: wrong" in ran.words
    (cell,) = Path("results/runs").glob("*/wrong/scores.jsonl")
    lines = [json.loads(line) for line in cell.read_text().splitlines()]
    assert {(line["verdict"], line["detail"], line["scores"]["pass_at_1"]) for line in lines} == {
        ("failed", "said so", 0.0)
    }


def test_without_permission_code_is_not_executed_and_the_table_says_why(app: App, executed: list[str]) -> None:
    ran = app("systems=[offload]", "output=out")
    metric = rows(Path("out/summary.json"))["offload"]["metrics"]["accuracy"]
    assert metric["value"] is None
    assert metric["reason"] == "generated code is executed only with accuracy.allow_code_execution=true"
    assert f"accuracy: unknown: {metric['reason']}" in ran.words
    assert not executed


def test_finished_cells_are_scored_without_measuring_again(
    app: App, executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app("systems=[offload]")
    monkeypatch.setattr("systems.api.load_pair", lambda *_: pytest.fail("measured again"))
    ran = app("systems=[offload]", YES, "output=out")
    assert "is finished" in ran.out
    assert rows(Path("out/summary.json"))["offload"]["metrics"]["pass_at_1"]["value"] == 1.0
    programs = len(executed)
    app("systems=[offload]", "output=out")  # what is judged needs neither another execution nor another yes
    assert rows(Path("out/summary.json"))["offload"]["metrics"]["pass_at_1"]["value"] == 1.0
    assert len(executed) == programs


def test_a_program_ends_where_its_dataset_says(app: App, executed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = "    return 1\n\ndef unasked():\n    pass\n"
    monkeypatch.setattr(fake.FakePair, "decode", lambda self, tokens, after=(): text)
    app("systems=[offload]", YES)
    assert executed
    assert all("    return 1\n" in program and "unasked" not in program for program in executed)


def test_an_answer_ends_where_its_dataset_says(monkeypatch: pytest.MonkeyPatch) -> None:
    class Seen:
        def compute(self, predictions: list[str], references: list[str]) -> dict[str, list[float]]:
            assert (predictions, references) == ([" 2\n"], ["#### 2"])
            return {"accuracy_scores": [1.0]}

    monkeypatch.setattr(scorers, "module", lambda name: Seen())
    prompts = [Prompt("a", "Question: 1 + 1?", {"question": "1 + 1?", "answer": "#### 2"})]
    outputs = {"offload": [scorers.Output("a", 0, " 2\nQuestion: 3 + 4? 7")]}
    judged = scorers.judge(SPECS["gsm8k"], prompts, outputs, Console())
    assert judged == {"offload": [scorers.Judged("a", 0, {"accuracy": 1.0})]}


def test_flips_are_of_the_first_repeat(app: App, executed: list[str]) -> None:
    words = (BOTH, YES, "measure.repeats=2", "output=out")
    app(*words)
    (path,) = Path("results/runs").glob("*/offload/scores.jsonl")
    scores = [json.loads(line) for line in path.read_text().splitlines()]
    spoilt = [one | {"scores": {"pass_at_1": float(one["repeat"] == 0)}} for one in scores]
    path.write_text("".join(json.dumps(one) + "\n" for one in spoilt))
    app(*words)
    found = rows(Path("out/summary.json"))
    assert found["offload"]["metrics"]["pass_at_1"]["value"] == 0.5
    assert found["wrong"]["metrics"]["score_lost"]["value"] == 4


def test_nothing_is_scored_before_the_last_system_is_closed(
    app: App, executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timing cannot depend on scoring: when the first output is judged, no system is left to be timed."""
    order: list[str] = []

    def noted(place: Any, name: str) -> None:
        real = getattr(place, name)

        def call(*arguments: Any) -> Any:
            order.append(name)
            return real(*arguments)

        monkeypatch.setattr(place, name, call)

    noted(fake.FakeSystem, "generate")
    noted(fake.FakeSystem, "close")
    noted(grading, "judge")
    app(BOTH, YES)
    assert order.count("judge") == 1
    assert order[-1] == "judge"
    assert order.count("close") == 3  # the reference and both systems


def test_a_failed_cell_is_not_scored(app: App, executed: list[str]) -> None:
    app("systems=[offload,crash]", YES, "output=out")
    found = rows(Path("out/summary.json"))
    assert found["offload"]["metrics"]["pass_at_1"]["n"] == len(executed) == 4
    assert found["crash"]["status"] == "failed"
    assert "pass_at_1" not in found["crash"]["metrics"]


def test_what_a_cell_finished_before_it_failed_is_not_scored(
    app: App, executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fake.FakeSystem.generate

    def generate(system: fake.FakeSystem, *arguments: Any) -> None:
        if system.config.name == "wrong" and system.calls == 3:
            raise RuntimeError("out of memory")
        real(system, *arguments)

    monkeypatch.setattr(fake.FakeSystem, "generate", generate)
    app(BOTH, YES, "output=out")
    (partial,) = Path("results/runs").glob("*/wrong/requests.jsonl")
    assert 0 < partial.read_text().count("\n") < 4
    found = rows(Path("out/summary.json"))["wrong"]
    assert found["status"] == "failed"
    assert "pass_at_1" not in found["metrics"]
    assert len(executed) == 4


def test_the_reference_of_the_paired_test_is_lossless() -> None:
    def row(system: str, lossless: bool, exact: float) -> dict[str, Any]:
        return {"system": system, "lossless": lossless, "metrics": {"exact_match": {"value": exact}}}

    found = [row("int4", False, 1.0), row("tied", True, 0.9), row("offload", True, 1.0)]
    assert grading.reference_of(found, ["int4", "tied", "offload"]) == "offload"
    assert grading.reference_of(found, ["int4", "tied"]) == "tied"
    assert grading.reference_of(found, ["int4"]) is None


def test_a_task_without_a_scorer_says_why(app: App) -> None:
    Path("mine.jsonl").write_text('{"prompt": "abc"}\n{"prompt": "abd"}\n')
    ran = app("systems=[offload]", "dataset=jsonl", "dataset.path=mine.jsonl", "dataset.limit=1")
    assert "accuracy: unknown: your own prompts have no answers to compare with" in ran.words


class Terminal:
    """Somebody who answers."""

    def __init__(self, answer: str) -> None:
        self.answers = [answer]

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self.answers.pop() + "\n"


def test_at_a_terminal_execution_is_asked_for_once(
    app: App, executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("n"))
    ran = app("systems=[offload]", YES)
    assert "Programs that a model wrote are about to be executed, in a sandbox (fake)" in ran.words
    assert "accuracy: unknown: the execution of generated code was declined" in ran.words
    assert not executed
    monkeypatch.setattr("sys.stdin", Terminal("yes"))
    app("systems=[offload]", YES)
    assert executed
    assert "about to be executed" not in app("systems=[offload]", YES).words  # and nobody is left to answer
