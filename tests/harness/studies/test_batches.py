"""The batch as an axis: what joins, what does not fit, and a run read along its batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.studies.batches.command import main
from harness.studies.batches.expected import expected
from harness.studies.batches.grid import Grid
from tests.harness.app import App, rows
from tests.harness.figures.made import publish

MIB = 2**20


def _row(system: str, batch: int, throughput: float, moved: float, tokens: float, **more: float) -> dict[str, Any]:
    values = {"throughput": throughput, "bytes_per_step": moved * MIB, "bytes_per_token": moved * MIB / tokens, **more}
    metrics = {id: {"value": value, "low": None, "high": None} for id, value in values.items()}
    return {
        "system": system, "batch": batch, "status": "ok", "lossless": True, "metrics": metrics,
        "description": {"draft_length": 4, "draft_bytes": 0},
    }  # fmt: skip


def _plain(batch: int, throughput: float, moved: float) -> dict[str, Any]:
    return _row("no_cache", batch, throughput, moved, batch, step_time=0.1)


def _speculative(batch: int, throughput: float, moved: float) -> dict[str, Any]:
    more = {"acceptance_rate": 0.5, "acceptance_length": 3.0, "draft_time": 0.04, "step_time": 0.2}
    return _row("spec_moe", batch, throughput, moved, 3 * batch, **more)


SUMMARY = [_plain(1, 10, 4), _speculative(1, 8, 16), _plain(8, 40, 10), _speculative(8, 60, 14)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    publish(tmp_path, SUMMARY)
    return tmp_path


def test_crossovers_and_their_reason_in_bytes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder)]) == 0
    said = (folder / "over_batch.md").read_text()
    assert (
        "spec_moe: more tokens per second than no_cache from batch 8 on; fewer bytes per token from batch 8 on" in said
    )
    assert (
        "at batch 1: spec_moe moves 16.00 MiB per cycle of 3.0 tokens, no_cache moves 4.00 MiB per cycle of 1.0" in said
    )
    assert "| spec_moe | 8.0 | 60.0 |" in said
    assert capsys.readouterr().out


def test_the_lambda_model_stands_beside_the_measurement(folder: Path) -> None:
    small, large = expected(Grid.read(folder), "spec_moe", "no_cache")
    assert (small.growth, large.growth) == (4.0, 1.4)
    assert small.cost == pytest.approx(0.1)
    assert small.speedup == pytest.approx(3 / (0.4 + 4))
    assert large.speedup == pytest.approx(3 / (0.4 + 1.4))
    assert (small.measured, large.measured) == (0.8, 1.5)


def test_what_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "summary.json cannot be read" in capsys.readouterr().err
    publish(tmp_path, [*SUMMARY, SUMMARY[0]])
    assert main([str(tmp_path)]) == 2
    assert "several rows of a system at one batch" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([])


def test_a_batch_that_does_not_fit_says_which_would(app: App) -> None:
    """A fake position takes a byte: prompts of about 400 letters, so that four rows need more than 1 KiB."""
    ran = app("systems=[offload,sd_offload]", "measure.batch=4", "kv_budget=1KiB", "output=out")
    assert ran.code == 0, ran.words
    found = rows(Path("out/summary.json"))["offload"]
    assert found["status"] == "did_not_fit"
    largest = int(found["reason"].rpartition("may be ")[2].split()[0])
    assert 1 <= largest < 4
    ran = app("systems=[offload]", f"measure.batch={largest}", "kv_budget=1KiB", "output=fits")
    assert rows(Path("fits/summary.json"))["offload"]["status"] == "ok"


def test_requests_that_wait_belong_to_the_generation(app: App) -> None:
    app("systems=[offload]", "measure.batch=1", "measure.queue=3", "output=out")
    lines = [
        json.loads(x) for x in next(Path("results/runs").glob("*/offload/requests.jsonl")).read_text().splitlines()
    ]
    assert [(line["batch"], line["row"]) for line in lines] == [(0, 0), (0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("measure.batch=0", "`measure.batch` is 0"),
        ("measure.queue=-1", "`measure.queue` is -1"),
        ("kv_budget=lots", "`kv_budget` is 'lots'"),
    ],
)
def test_bad_batches_are_refused(app: App, argument: str, said: str) -> None:
    ran = app("systems=[offload]", argument)
    assert ran.code == 2
    assert said in ran.words
