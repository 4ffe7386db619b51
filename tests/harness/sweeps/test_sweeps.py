"""Sweeps as they are typed: killed and resumed, under several launchers, with cells that raise."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.records.files import exclusive
from tests.harness.sweeps.sweeper import counts, finish, start, start_replay, table

FOUR = "systems=[offload,sd_offload,moe_infinity,slow]"
READ_ONLY = (
    "unshare", "--map-root-user", "--mount", "sh", "-c",
    'mount --bind results results && mount -o remount,bind,ro results && exec "$@"', "sh",
)  # fmt: skip
SIX = "budget=0.4,0.5,0.6,0.7,0.8,0.9"


def _summaries(folder: Path) -> dict[Path, int]:
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.glob("results/runs/*/*/summary.json")}


@pytest.mark.nightly
def test_a_sweep_of_24_cells_killed_in_the_middle_is_finished_by_the_same_command(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    process = start(killed, FOUR, SIX)
    while len(_summaries(killed)) < 8:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(0.5)  # into the third comparison
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = _summaries(killed)
    assert 8 <= len(before) < 24
    out = finish(start(killed, FOUR, SIX))
    assert out.count("is finished") == len(before) // 4
    after = _summaries(killed)
    assert len(after) == 24
    assert {path: after[path] for path in before} == before  # none was done twice
    assert not list(killed.glob("results/runs/*/*/UNFINISHED"))
    finish(start(whole, FOUR, SIX))
    assert counts(killed) == counts(whole)
    assert len({(line["p_budget"], line["system"]) for line in table(killed)}) == 24
    # Not why a value is unknown: that may cite a time.
    same = ("job", "key", "system", "status", "metric", "unit", "definition", "n")
    assert [[line[name] for name in same] for line in table(killed)] == [
        [line[name] for name in same] for line in table(whole)
    ]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("plugin", "launcher"),
    [
        ("joblib", ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")),
        ("submitit", ("hydra/launcher=submitit_local",)),
        ("submitit", ("hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=5")),
        ("ray", ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2")),
    ],
)
def test_every_launcher_gives_the_same_counters(plugin: str, launcher: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher")
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    jobs = ("system=offload,sp_moe,crash", "budget=0.4,0.8")
    finish(start(one, *jobs), 1)
    finish(start(other, *jobs, *launcher), 1)
    assert counts(one) == counts(other)
    assert counts(one)
    if launcher[0].endswith("slurm"):
        assert (other / "slurm.states").read_text().count("|COMPLETED|") == 6  # all of it went through `sbatch`
    assert {path.parent.name for path in one.glob("results/runs/sweeps/*/cells.parquet")} == {
        path.parent.name for path in other.glob("results/runs/sweeps/*/cells.parquet")
    }


@pytest.mark.nightly
def test_replays_under_slurm_are_those_of_one_process(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    jobs = ("system=offload,sp_moe,moe_speq", "budget=0.5")
    finish(start_replay(one, *jobs))
    finish(start_replay(other, *jobs, "hydra/launcher=submitit_slurm"))
    assert _slurm_states(other, 3) == ["COMPLETED"] * 3
    assert counts(one) == counts(other)
    times = [[line["value"] for line in table(folder) if line["metric"] == "tpot"] for folder in (one, other)]
    assert times[0] == times[1]  # of a virtual clock
    assert len(set(times[0])) == 3


def _slurm_states(folder: Path, jobs: int) -> list[str]:
    """How jobs ended; the last one's state is written when its process is gone, a moment after its result is read."""
    for _ in range(100):
        states = [line.split("|")[1] for line in (folder / "slurm.states").read_text().splitlines()]
        if len(states) == jobs:
            break
        time.sleep(0.1)
    return states


@pytest.mark.nightly
def test_two_sweeps_at_once_do_no_cell_twice(tmp_path: Path) -> None:
    jobs = ("systems=[offload,slow]", "budget=0.4,0.6,0.8")
    said = "".join(map(finish, [start(tmp_path, *jobs), start(tmp_path, *jobs)]))
    assert said.count("waiting for the process that measures it") >= 1
    assert said.count("is finished") == 3


@pytest.mark.nightly
def test_a_process_that_is_killed_costs_its_job(tmp_path: Path) -> None:
    said = finish(start(tmp_path, "system=offload,dies", "hydra/launcher=submitit_slurm"), 1)
    assert "Traceback" not in said
    assert "a job was lost; the same command measures what is missing" in said
    assert "cells: 1, 1 ok" in said
    assert {line["system"] for line in table(tmp_path)} == {"offload"}


@pytest.mark.parametrize("mode", [("--multirun",), ()], ids=["sweep", "comparison"])
def test_a_read_only_results_folder_is_said_before_measuring(mode: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    if subprocess.run([*READ_ONLY, "true"], cwd=tmp_path).returncode:
        pytest.skip("this machine grants no mounts")
    said = finish(start(tmp_path, "systems=[offload,sp_moe]", within=READ_ONLY, mode=mode), 2)
    assert "error: cannot write results/runs: Read-only file system; check its permissions" in said
    assert "Traceback" not in said


def test_only_one_at_a_time_works_on_a_cell(tmp_path: Path) -> None:
    said, order = list[str](), list[str]()

    def second() -> None:
        with exclusive(tmp_path, lambda: said.append("waiting")):
            order.append("second")

    with exclusive(tmp_path, lambda: said.append("never")):
        thread = threading.Thread(target=second)
        thread.start()
        while not said:
            time.sleep(0.001)
        order.append("first")
    thread.join()
    assert (said, order) == (["waiting"], ["first", "second"])
