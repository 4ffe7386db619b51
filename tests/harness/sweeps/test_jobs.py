"""What a sweep keeps and says, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.records.summary_file import SCHEMA
from harness.sweeps.jobs import Sweep
from tests.harness import fake
from tests.harness.app import App, listed
from tests.harness.sweeps.sweeper import table


def test_a_cell_that_raises_is_a_failed_row_with_its_traceback_and_the_others_finish(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_pair(*_: Any) -> fake.FakePair:
        loads.append(1)
        if len(loads) == 2:
            raise RuntimeError("out of memory")
        return fake.FakePair()

    loads: list[int] = []
    monkeypatch.setattr("systems.api.load_pair", load_pair)
    ran = app("--multirun", "budget=0.4,0.6,0.8", "systems=[offload,sd_offload]")
    assert ran.code == 1
    assert ran.err.count("RuntimeError: out of memory") == 1  # at once
    assert "cells: 6, 4 ok, 2 failed" in ran.words
    assert "offload failed: RuntimeError: out of memory" in ran.words  # and once more
    failed = [line for line in table(Path()) if line["status"] == "failed"]
    assert [(line["system"], line["p_budget"], line["metric"]) for line in failed] == [
        ("offload", 0.6, None),
        ("sd_offload", 0.6, None),
    ]
    assert all("Traceback" in line["error"] and "in load_pair" in line["error"] for line in failed)
    again = app("--multirun", "budget=0.4,0.6,0.8", "systems=[offload,sd_offload]")
    assert again.code == 0
    assert again.out.count("is finished") == 2
    assert {line["status"] for line in table(Path())} == {"ok"}


def test_fail_fast_lets_no_further_job_begin(app: App) -> None:
    ran = app("--multirun", "system=offload,crash,sp_moe,sd_offload", "fail_fast=true")
    assert ran.code == 1
    assert "jobs: 4, 2 skipped cells: 2, 1 ok, 1 failed" in ran.words
    assert app("--multirun", "system=offload,crash,sp_moe", "fail_fast=false").code == 1
    assert len(list(Path("results/runs").glob("*/sp_moe/summary.json"))) == 1


def test_a_refused_job_is_a_usage_error_and_the_others_finish(app: App) -> None:
    ran = app("--multirun", "system=offload,unknown,sp_moe")
    assert ran.code == 2
    assert " ".join(ran.err.split()).count("residency.part=mru is unknown") == 1
    assert "jobs: 3, 1 refused cells: 2, 2 ok" in ran.words


def test_jobs_that_are_refused_before_they_begin_are_an_error_under_every_launcher(app: App) -> None:
    """What a worker process says is not seen by the one that started it."""
    words = ("--multirun", "experiment=hit_rate", "budget=24MiB")
    assert app(*words).code == 2
    ran = app(*words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert ran.code == 2
    assert "no job left a record" in ran.words


def test_a_dry_run_lists_cells_and_learns_from_finished_ones(app: App) -> None:
    jobs = ("--multirun", "system=offload,sp_moe", "budget=0.4,0.8")
    ran = app(*jobs, "dry_run=true")
    assert ran.code == 0
    assert ran.words.count("an unknown time (no such cell is finished yet): offload") == 2
    assert not list(Path("results/runs").glob("*/*/requests.jsonl"))
    app("system=sp_moe", "budget=0.4", "dataset.limit=2")
    app("system=offload", "budget=0.4")
    ran = app(*jobs, "dry_run=true")
    assert "finished: offload" in ran.words
    assert "unknown" not in ran.words
    assert ran.words.count("s: sp_moe") == 2
    assert "jobs: 4, 1 finished; the others take about" in ran.words
    assert "s: sp_moe" in app("system=sp_moe", "dry_run=true").words


def test_an_estimate_follows_tokens_asked_for(app: App) -> None:
    app("system=slow", "dataset.limit=1")
    few, many = (_seconds(app("system=slow", "dry_run=true", f"dataset.limit={n}").words) for n in (20, 100))
    assert few >= 20 * 0.2  # it sleeps as long over every prompt
    assert many == pytest.approx(5 * few, rel=0.5)


def _seconds(words: str) -> float:
    (number, unit) = words.split("about ")[1].split()[:2]
    return float(number) * (60 if unit.startswith("min") else 1)


def test_the_name_of_a_sweep_is_that_of_its_jobs() -> None:
    plain = Sweep.typed(["--multirun", "experiment=budget", "dataset.limit=2"])
    assert plain.name.startswith("budget-")
    same = ["-m", "dataset.limit=2", "experiment=budget", "hydra/launcher=joblib", "runs=elsewhere", "dry_run=true"]
    assert Sweep.typed(same).name == plain.name
    assert Sweep.typed(["-m", "experiment=budget", "dataset.limit=3"]).name != plain.name


def test_records_that_cannot_be_written_are_said(app: App) -> None:
    Path("taken").write_text("a file")
    ran = app("--multirun", "system=offload,sp_moe", "runs=taken")
    assert ran.code == 2
    assert "cannot write" in ran.words
    assert "write elsewhere: set `runs=` and `output=`" in ran.words


@pytest.mark.parametrize("spoil", [lambda text: text[:100], lambda text: text.replace("summary/2", "summary/1")])
def test_a_record_that_is_half_written_or_of_an_older_schema_is_measured_again(
    app: App, spoil: Callable[[str], str]
) -> None:
    app("--multirun", "system=offload,sp_moe")
    (path,) = Path("results/runs").glob("*/sp_moe/summary.json")
    path.write_text(spoil(path.read_text()))
    ran = app("--multirun", "system=offload,sp_moe")
    assert (ran.code, ran.out.count("is finished")) == (0, 1)
    assert json.loads(path.read_text())["schema"] == SCHEMA
    assert listed(path)[0]["status"] == "ok"


def test_other_prompts_under_the_same_name_are_another_cell(app: App) -> None:
    own = ("dataset=jsonl", "dataset.path=mine.jsonl", "dataset.limit=null")
    jobs = ("--multirun", "system=offload,sp_moe", *own)
    for text in ("abc", "abd", "abc"):
        Path("mine.jsonl").write_text(f'{{"prompt": "{text}"}}\n{{"prompt": "x"}}\n')
        ran = app(*jobs)
    assert len(list(Path("results/runs").glob("*/sp_moe/summary.json"))) == 2
    assert ran.out.count("is finished") == 2


def test_runs_of_a_sweep_are_grouped_by_it(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[str] = []
    monkeypatch.setattr("harness.tracking.client.send", lambda config, run, *rest: groups.append(run.group))
    app("--multirun", "system=offload,sp_moe", "tracking=wandb")
    assert len(groups) == 2
    assert set(groups) == {path.name for path in Path("results/runs/sweeps").iterdir()}
