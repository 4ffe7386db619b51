"""README and the pages of `docs/`: walk-throughs done in a copy of the tree as a reader would, commands that exist."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hydra import compose, initialize_config_dir

from harness.commands import door
from harness.commands.table import COMMANDS
from tests.harness.app import rows

ROOT = Path(__file__).parents[1]
COMMAND = ".venv/bin/python"
SHORT = (
    "dataset.limit=1", "measure.max_new_tokens=6", "measure.warmup=1", "measure.repeats=1", "output=out",
    "measure.calibration_seconds=0.1",
)  # fmt: skip
PARTS = {
    "Add a system": ("sp_moe_lazy", ["conf/system/sp_moe_lazy.yaml"]),
    "Add a residency policy": ("offload_fifo", ["systems/policies/fifo.py", "conf/system/offload_fifo.yaml"]),
    "Add a predictor": ("offload_again", ["systems/methods/again.py", "conf/system/offload_again.yaml"]),
}
"""Sections that add a system, its name, and the files that it takes: all of them are new."""


class Step(NamedTuple):
    """A thing to do: the text goes where `where` says; without it, the text is a command."""

    where: str | None
    text: str


def steps(title: str) -> list[Step]:
    """What a section tells a reader to do, in order: paragraphs of code, each file headed by its name."""
    section = (ROOT / "docs/extend.md").read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if not line or line.startswith("    ")]
    found: list[Step] = []
    for paragraph in "\n".join(line[4:] for line in lines).split("\n\n"):
        text = paragraph.strip("\n")
        head, _, rest = text.partition("\n")
        if text.startswith(COMMAND):
            found.append(Step(None, text))
        elif head.startswith("# ") and "/" in head:
            found.append(Step(head[2:], rest))
        elif text:
            found[-1] = Step(found[-1].where, f"{found[-1].text}\n\n{paragraph}")
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("tree")
    for name in ("conf", "harness", "systems"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "models").symlink_to(ROOT / "models")
    return copy


def _edit(tree: Path, step: Step) -> None:
    assert step.where is not None
    (tree / step.where).write_text(step.text + "\n")


def _run(tree: Path, command: str) -> dict[str, dict[str, Any]]:
    _, *arguments = shlex.split(command)
    ran = subprocess.run(
        [sys.executable, *arguments, *SHORT], cwd=tree, text=True, capture_output=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return rows(tree / "out" / "summary.json")


@pytest.mark.parametrize("title", PARTS)
def test_a_section_is_read_whole(title: str) -> None:
    assert [step.where for step in steps(title)] == [*PARTS[title][1], None]
    assert not any((ROOT / file).exists() for file in PARTS[title][1])


@pytest.mark.slow
@pytest.mark.parametrize("title", PARTS)
def test_what_the_pages_add_runs_and_is_ok(tree: Path, title: str) -> None:
    *edits, command = steps(title)
    for step in edits:
        _edit(tree, step)
    row = _run(tree, command.text)[PARTS[title][0]]
    assert (row["status"], row["metrics"]["exact_match"]["value"]) == ("ok", 1.0)
    assert row["metrics"]["bytes_per_token"]["value"] > 0


@pytest.mark.slow
def test_a_metric_of_ones_own_is_one_file(tree: Path) -> None:
    edit, command = steps("Add a metric")
    _edit(tree, edit)
    row = _run(tree, command.text)["offload"]
    entry = row["metrics"]["evictions"]
    assert (entry["definition"], entry["value"] > 0) == ("evictions@1", True)
    assert "| evictions |" in (tree / "out" / "table.md").read_text()
    assert "evictions@1 (1/token)" in (tree / "out" / "table.md").read_text()
    compared = "from harness.gates.effects import COMPARED; assert COMPARED['evictions'].gated"
    subprocess.run([sys.executable, "-c", compared], cwd=tree, check=True, env={**os.environ, "PYTHONPATH": ""})


@pytest.mark.slow
def test_a_dataset_of_ones_own_is_one_file_and_its_yaml(tree: Path) -> None:
    *edits, command = steps("Add a dataset")
    for edit in edits:
        _edit(tree, edit)
    row = _run(tree, command.text)["offload"]
    assert (row["dataset"], row["status"]) == ("sums", "ok")
    assert row["metrics"]["accuracy"]["value"] is not None


def test_the_new_part_is_first_in_first_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code, executed: use does not save what came first, as it would under LRU."""
    from systems.policies.orders import DEMAND, Order

    (source,) = [s.text for s in steps("Add a residency policy") if s.where == "systems/policies/fifo.py"]
    scope: dict[str, Any] = {"__name__": "fifo"}
    monkeypatch.setitem(sys.modules, "fifo", type(sys)("fifo"))  # dataclasses look their module up
    exec(compile(source, "README.md", "exec"), scope)
    policy = scope["Fifo"]()
    for expert in (3, 1, 2):
        policy.admitted(expert)
    policy.used(3)
    order = Order(DEMAND, 0, 0.0, 9, 0)
    assert policy.victim(order, range(9), ()) == 3
    assert policy.victim(order, range(9), (3,)) == 1
    policy.evicted(3)
    assert policy.victim(order, (2,), ()) == 2


def _texts() -> dict[str, str]:
    return {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}


def test_every_system_experiment_and_target_is_told_of() -> None:
    text = "".join(_texts().values())
    for group in ("system", "experiment", "dataset", "hardware", "model", "tracking"):
        for file in (ROOT / "conf" / group).glob("*.yaml"):
            assert f"`{file.stem}`" in text, f"{group} {file.stem}"
    for target in (ROOT / "Makefile").read_text().split(".PHONY:")[1].splitlines()[0].split():
        assert f"make {target}" in text or target in UNTOLD, target


def test_commands_stand_in_blocks() -> None:
    """A line that lost its indentation makes prose of all that follow it."""
    for name, text in _texts().items():
        assert not re.findall(r"(?m)^(?:make|\.venv/\S+|sh) \S.*  +#.*$|^\.venv/.*$", text), name


UNTOLD = "help", "setup", "format", "lint", "typecheck", "lock", "clean"


def _commands() -> Iterator[tuple[str, str]]:
    """Every command of the pages, with its page."""
    for name, text in _texts().items():
        for found in re.finditer(r"(?m)^ {4}(?:PYTHONPATH=\S+ )?\S*python (?:-P )?-m harness(?:(?: (.*))|)$", text):
            yield name, found[1] or ""


@pytest.mark.parametrize(("page", "words"), list(dict.fromkeys(_commands())))
def test_commands_of_the_pages_exist_and_what_they_set_can_be_set(page: str, words: str) -> None:
    command, typed = door.chosen(shlex.split(words, comments=True) or ["bench"])
    assert command in COMMANDS, page
    overrides = [word for word in typed if "=" in word and not word.startswith("-")]
    if "--multirun" in typed:
        overrides = [word if "[" in word else word.split(",")[0] for word in overrides]
    root = command if (ROOT / "conf" / f"{command}.yaml").is_file() else "config"
    made = {Path(path).stem for path in MADE if path.startswith("conf/dataset")}
    if overrides and not any(word.startswith("hydra") or word.partition("=")[2] in made for word in overrides):
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            compose(root, overrides=overrides)


def test_links_between_pages_lead_somewhere() -> None:
    for name, text in _texts().items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            assert link.startswith("http") or (folder / link).exists(), f"{name}: {link}"


def test_the_readme_stays_short() -> None:
    assert len(_texts()["README.md"].splitlines()) <= 200


def test_pages_name_files_that_are_there() -> None:
    for name, text in _texts().items():
        for path in re.findall(r"`((?:harness|systems|conf|tests|models|docs)/[\w/.-]+\.\w+)`", text):
            assert (ROOT / path).exists() or path in MADE, f"{name}: {path}"


SECTIONS = *PARTS, "Add a metric", "Add a dataset"
MADE = {str(step.where) for title in SECTIONS for step in steps(title) if step.where} | {"conf/dataset/NAME.yaml"}
