"""Commands under the names that they had before there was one door."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from harness import earlier
from harness.commands import door
from harness.commands.table import COMMANDS

NAMES = sorted(path.stem for path in Path(earlier.__path__[0]).glob("[!_]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_an_earlier_spelling_runs_the_command_of_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(door, "main", lambda command: asked.append(command) or 7)
    monkeypatch.delitem(sys.modules, f"harness.{name}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"harness.{name}", run_name="__main__")
    assert (asked, ended.value.code) == ([name], 7)
    assert name in COMMANDS
    about = Path(earlier.__path__[0], f"{name}.py").read_text().splitlines()[0]
    assert about == f'"""`python -m harness.{name}`, the earlier spelling of `python -m harness {name}`."""'
