"""What records say of where they are from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.records import provenance


@pytest.mark.parametrize(
    ("started", "command"),
    [
        ("/x/harness/__main__.py", "python -m harness a=1"),
        ("/x/bin/harness", "python -m harness a=1"),
        ("bench", "python -m harness a=1"),
        ("moesd", "python -m harness moesd a=1"),
        ("/x/harness/figures/__main__.py", "python -m harness figures a=1"),
    ],
)
def test_the_command_is_one_that_can_be_typed(monkeypatch: pytest.MonkeyPatch, started: str, command: str) -> None:
    monkeypatch.setattr(sys, "argv", [started, "a=1"])
    assert provenance.collect()["command"] == command


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [
        ("harness/cli/launch.py", True),
        ("conf/config.yaml", True),
        ("results/bench/summary.json", False),
        ("README.md", False),
    ],
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


def test_a_folder_counts_by_its_files(tmp_path: Path) -> None:
    """Not by its name, by folders in it, or by links that lead nowhere."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "weights").write_text("w")
    (other / "gone").symlink_to("nowhere")
    (other / "sub").mkdir()
    found = provenance.folder_fingerprint([one])
    assert provenance.folder_fingerprint([other]) == found
    assert provenance.folder_fingerprint([None, one]) != found, "another place in the config"
    (other / "weights").write_text("v")
    assert provenance.folder_fingerprint([other]) != found


def test_a_tokenizer_counts_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    before = provenance.tokenizer_fingerprint(tmp_path)
    (tmp_path / "README.md").write_text("x")
    assert provenance.tokenizer_fingerprint(tmp_path) == before
    for name in ("tokenizer.json", "special_tokens_map.json", "spiece.model", "chat_template.jinja"):
        (tmp_path / name).write_text(name)
        assert provenance.tokenizer_fingerprint(tmp_path) != before, name
        before = provenance.tokenizer_fingerprint(tmp_path)


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("/home/ann/models/m", "~/models/m"),
        ("/home/ann", "~"),
        ("at '/home/ann/x', (/home/ann) or [/home/ann/y].", "at '~/x', (~) or [~/y]."),
        ("in /home/ann. Then", "in ~. Then"),
        ("file:///home/ann/x", "file://~/x"),
        ("a=/home/ann/x:/home/ann/y", "a=~/x:~/y"),
        ("/mnt/home/ann/x", "/mnt/home/ann/x"),
        ("/home/annabel/x", "/home/annabel/x"),
        ("/home/ann-2/x", "/home/ann-2/x"),
        ("/home/ann.old/x", "/home/ann.old/x"),
        ("./a/./b", "a/./b"),
        ("./a/../b", "a/../b"),
    ],
)
def test_folders_are_replaced_as_whole_parts_at_the_start_of_a_path(
    text: str, scrubbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert provenance.scrub({"a": [text]}) == {"a": [scrubbed]}


def test_a_scrubbed_path_can_be_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    for path in ("/home/ann/m", "/home/ann", "/srv/m", "relative/m"):
        assert provenance.restored(provenance.scrub(path)) == path
    assert provenance.restored("~other/m") == "~other/m"


@pytest.mark.parametrize(
    ("stamp", "commit", "dirty"),
    [("abc123 clean\n", "abc123", False), ("abc123 dirty", "abc123", True), ("abc123", None, None), (None, None, None)],
)
def test_a_copy_without_its_repository_says_what_it_is_a_copy_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stamp: str | None, commit: str | None, dirty: bool | None
) -> None:
    if stamp is not None:
        (tmp_path / provenance.STAMP).write_text(stamp)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.commit() == {"commit": commit, "dirty": dirty}
