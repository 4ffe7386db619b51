"""What came back is filed under its name, if it is what it says."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from harness.gpu_bench import take as taking
from harness.gpu_bench.kit import SCHEMA
from harness.gpu_bench.take import take
from harness.records import provenance
from systems.api import BadInput


@pytest.fixture
def back(tmp_path: Path) -> Path:
    folder = tmp_path / "back"
    folder.mkdir()
    commit = provenance.commit()["commit"]
    if commit is None:
        pytest.skip("no git checkout")
    _kit(folder, commit=commit, code=taking.code_of(commit))
    (folder / "junit.xml").write_text("<x/>")
    results = tmp_path / "results"
    for name in ("pair_float32", "pair_replayed"):
        (results / name).mkdir(parents=True)
        for file in ("summary.json", "table.md", "provenance.json", "stray.txt"):
            (results / name / file).write_text(f"{name}/{file}")
    with tarfile.open(folder / "results.tar.gz", "w:gz") as archive:
        archive.add(results, "results")
        archive.add(results / "pair_float32" / "table.md", "../results/x/table.md")
    return folder


def _kit(folder: Path, **changes: Any) -> None:
    kit = {"schema": SCHEMA, "commit": "0" * 40, "dirty": False, "device": "cuda", "tiny": False, "stages": {}}
    (folder / "kit.json").write_text(json.dumps(kit | changes))


def test_results_are_filed_with_what_says_where_they_are_from(back: Path, tmp_path: Path) -> None:
    written = take(back, "h100", tmp_path / "device")
    names = {str(file.relative_to(tmp_path / "device" / "h100")) for file in written}
    kept = {f"{name}/{file}" for name in ("pair_float32", "pair_replayed") for file in taking.KEPT}
    assert names == {"kit.json", "junit.xml"} | kept
    assert (tmp_path / "device" / "h100" / "pair_float32" / "table.md").read_text() == "pair_float32/table.md"
    assert json.loads((tmp_path / "device" / "h100" / "kit.json").read_text())["schema"] == SCHEMA
    with pytest.raises(BadInput, match="exists"):
        take(back, "h100", tmp_path / "device")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tiny": True}, "rehearsal"),
        ({"device": "cpu"}, "rehearsal"),
        ({"dirty": True}, "clean commit"),
        ({"dirty": None, "commit": None}, "clean commit"),
        ({"commit": "0" * 40}, "not known here"),
        ({"code": "0" * 16}, "another than what ran"),
        ({"schema": "other/1"}, "schema"),
    ],
)
def test_what_cannot_be_believed_is_refused(back: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    known = json.loads((back / "kit.json").read_text())
    _kit(back, **(known | changes))
    with pytest.raises(BadInput, match=message):
        take(back, "h100", tmp_path / "device")
    assert not (tmp_path / "device").exists()


@pytest.mark.parametrize("name", ["../h100", "", "H100", "a/b"])
def test_a_name_is_one_folder(back: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="no name"):
        take(back, name, tmp_path / "device")


def test_a_folder_that_is_not_the_kits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"kit\.json cannot be read"):
        take(tmp_path, "h100", tmp_path / "device")
