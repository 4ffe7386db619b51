"""Tables of README and docs are those of the published results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.records import summary_file
from harness.report import pages
from systems.api import BadInput

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("page", pages.pages(ROOT), ids=lambda page: page.name)
def test_what_is_committed_is_what_the_results_say(page: Path) -> None:
    assert pages.filled(page.read_text(), ROOT) == page.read_text(), "run: python -m harness pages"


def _row(system: str, hardware: str, tpot: float | None, lossless: bool = True) -> dict[str, object]:
    metrics = {"tpot": {"value": tpot}, "oracle_gap": {"value": None}, "bytes_per_token": {"value": 3 * 2.0**19}}
    return {
        "system": system, "model": "m", "dataset": "d", "hardware": hardware, "emulated": True, "replayed": False,
        "batch": 1, "budget_bytes": 2**20, "lossless": lossless, "status": "ok", "metrics": metrics,
    }  # fmt: skip


def test_profiles_stand_side_by_side(tmp_path: Path) -> None:
    rows = [_row("a", "x", 0.01), _row("b", "x", 0.02, lossless=False), _row("a", "y", None)]
    folder = tmp_path / "results" / "two"
    folder.mkdir(parents=True)
    summary_file.write(folder, "k", rows)
    (folder / "provenance.json").write_text(json.dumps({"key": "k"}))
    page = "before\n<!-- profiles results/two -->\nold\n<!-- end -->\nafter\n"
    head, first, second = (
        "x: TPOT ms | x: gap | x: MiB/token | y: TPOT ms",
        "`a` | 10.00 | - | 1.5 | - | - | 1.5",
        "`b` (lossy)",
    )
    text = pages.filled(page, tmp_path)
    assert text.startswith("before\n<!-- profiles results/two -->\n\n| system | " + head)
    assert f"| {first} |" in text
    assert f"| {second} | 20.00 | - | 1.5 | - | - | - |" in text
    assert text.endswith("|\n\n<!-- end -->\nafter\n")
    assert pages.filled(text, tmp_path) == text


def test_the_tables_of_a_set_come_without_its_remarks(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "table.md").write_text("**T**\n\n| a |\n| --- |\n\n- a remark\n")
    assert pages.filled("<!-- tables set -->\n<!-- end -->", tmp_path) == (
        "<!-- tables set -->\n\n**T**\n\n| a |\n| --- |\n\n<!-- end -->"
    )


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(BadInput, match="picture"):
        pages.filled("<!-- picture results -->\n<!-- end -->", ROOT)
