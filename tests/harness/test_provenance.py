"""What records say of where they are from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import provenance


@pytest.mark.parametrize(
    ("started", "command"),
    [
        ("/x/harness/__main__.py", "python -m harness a=1"),
        ("/x/bin/harness", "python -m harness a=1"),
        ("/x/harness/suite.py", "python -m harness.suite a=1"),
        ("/x/harness/moesd/__main__.py", "python -m harness.moesd a=1"),
    ],
)
def test_the_command_is_one_that_can_be_typed(monkeypatch: pytest.MonkeyPatch, started: str, command: str) -> None:
    monkeypatch.setattr(sys, "argv", [started, "a=1"])
    assert provenance.collect()["command"] == command


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [("harness/run.py", True), ("conf/config.yaml", True), ("results/bench/summary.json", False), ("README.md", False)],
)
def test_published_results_do_not_make_the_code_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: str, dirty: bool
) -> None:
    file = tmp_path / changed
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("before")
    git = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "first")):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.collect()["dirty"] is False
    file.write_text("after")
    assert provenance.collect()["dirty"] is dirty
