from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.harness.app import App


class FakeRun:
    def __init__(self, options: dict[str, Any]) -> None:
        self.options, self.summary, self.finished = options, dict[str, Any](), False

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    made: list[FakeRun] = []

    def init(**options: Any) -> FakeRun:
        made.append(FakeRun(options))
        return made[-1]

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    return made


def test_one_offline_run_per_cell_each_finished(app: App, runs: list[FakeRun]) -> None:
    ran = app("systems=[offload,sp_moe]", "tracking=wandb", "budget=0.5")
    assert ran.code == 0
    assert [run.options["name"].split("-")[0] for run in runs] == ["offload", "sp_moe"]
    assert len({run.options["group"] for run in runs}) == 1
    for run in runs:
        assert run.finished
        assert (run.options["mode"], run.options["reinit"]) == ("offline", "create_new")
        assert run.summary["status"] in ("ok", "noisy")
        assert run.summary["emulated"] is True
        assert run.summary["exact_match"] == 1.0
        assert "acceptance_rate" not in runs[0].summary  # an unknown is absent, not 0
        assert run.options["config"]["config"]["budget"] == 0.5
        assert str(Path.cwd()) not in str(run.options["config"])


def test_nothing_is_tracked_by_default(app: App, runs: list[FakeRun]) -> None:
    app("system=offload")
    assert runs == []


def test_a_missing_tracker_is_said_before_measuring(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    ran = app("system=offload", "tracking=wandb")
    assert ran.code == 2
    assert "pip install 'spmoe-bench[wandb]', or tracking=none" in ran.words
    assert not list(Path("results").rglob("*.jsonl"))


def test_an_unreachable_tracker_costs_a_warning(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: Any) -> None:
        raise ConnectionError("api.wandb.ai does not answer")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    ran = app("system=offload", "tracking=wandb", "tracking.mode=online")
    assert ran.code == 0
    assert "W&B did not take offload: api.wandb.ai does not answer" in ran.words
    assert "tracking.mode=offline" in ran.words
    assert list(Path("results").rglob("summary.json"))


@pytest.mark.slow
def test_the_real_wandb_offline(app: App) -> None:
    pytest.importorskip("wandb")
    ran = app("system=offload", "tracking=wandb")
    assert ran.code == 0
    assert "did not take" not in ran.words
    assert list(Path("wandb").glob("offline-run-*"))
