"""The kernels' benchmark: through its command line, with what it refuses."""

import json
import sys
from pathlib import Path

import pytest

from harness.studies import attention

SMALL = ("rows=1", "prefix=16", "drafted=2", "rounds=3")


def run(patch: pytest.MonkeyPatch, *arguments: str) -> int:
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    patch.setattr(sys, "argv", ["harness/studies/attention.py", *SMALL, *arguments])
    return attention.main()


def test_the_command_writes_all_kernels_of_all_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, f"output={tmp_path}") == 0
    found = json.loads((tmp_path / "attention.json").read_text())
    kernels = {"chunked", "one_token", "recomputing", "sdpa", "transformers"}
    assert {(row["shape"], row["kernel"]) for row in found["rows"]} == {
        (shape, kernel) for shape in ("reference", "mixtral_8x7b") for kernel in kernels
    }
    assert all(row["ratio"] == 1 for row in found["rows"] if row["kernel"] == "chunked")
    assert all(0 < row["low"] <= row["ratio"] <= row["high"] for row in found["rows"])
    assert all(row["error"] < 1e-5 for row in found["rows"])
    assert found["provenance"]["command"].startswith("python -m harness attention rows=1")
    assert "| one_token |" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("drafted=0", "`drafted` is 0"),
        ("rows=0", "`rows` is 0"),
        ("dtype=int8", "`dtype` is 'int8'"),
        ("shapes.reference.key_heads=3", "`shapes.reference`: heads must be a multiple of key_heads"),
        ("shapes.reference.key_heads=0", "`shapes.reference`"),
    ],
)
def test_bad_input_is_named(
    override: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, f"output={tmp_path}", override) == 2
    assert message in capsys.readouterr().err
