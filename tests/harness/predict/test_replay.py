"""Recording and replaying through the real command line, on the reference pair."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.app import listed

ROOT = Path(__file__).parents[3]
SHORT = (
    "dataset.limit=1", "measure.max_new_tokens=6", "measure.warmup=1", "measure.calibration_seconds=0.1",
    "systems=[resident,offload,sp_moe]",
)  # fmt: skip


def _places(folder: Path) -> list[str]:
    return [f"replay={folder / 'traces'}", f"runs={folder / 'runs'}"]


def _run(module: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *module.split(), *SHORT, *_places(folder), *arguments]
    return subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, timeout=200, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def _rows(folder: Path, name: str, *arguments: str) -> list[dict[str, Any]]:
    ran = _run("harness", folder, f"output={folder / name}", "resume=false", *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "reference: plain greedy decoding" not in ran.stdout, "a replay runs no model"
    return listed(folder / name / "summary.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("replay")
    ran = _run("harness record", made)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert sorted(path.name for path in (made / "traces").iterdir()) == ["costs.json", "model.npz", "tokenizer.json"]
    return made


def test_a_replay_gives_the_same_rows_every_time_and_says_what_it_is(folder: Path) -> None:
    first, again = _rows(folder, "first"), _rows(folder, "again")
    for row in first + again:
        del row["metrics"]["peak_rss"]
    assert first == again
    assert [row["system"] for row in first] == ["resident", "offload", "sp_moe"]
    assert all(row["replayed"] and row["emulated"] and row["status"] == "ok" for row in first)
    assert all(row["metrics"]["exact_match"]["value"] == 1 for row in first)
    assert "(emulated, replayed)" in (folder / "first" / "table.md").read_text()


def test_a_replay_needs_neither_models_nor_what_computes_with_them(folder: Path) -> None:
    blocked = f"""
import runpy, sys
sys.modules.update(dict.fromkeys(("torch", "transformers"), None))
sys.argv = ["harness", *{[*SHORT, *_places(folder)]!r}, "output=null", "resume=false", "model.target=nowhere",
            "model.draft=nowhere", "model.tokenizer=nowhere", "model.name=reference"]
runpy.run_module("harness", run_name="__main__")
"""
    ran = subprocess.run([sys.executable, "-c", blocked], cwd=ROOT, text=True, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    ran = _run("harness", folder, "output=null", "model.target=nowhere", "model.name=other")
    assert ran.returncode == 2
    assert "was recorded with another target than other's" in ran.stderr


def test_another_budget_and_link_need_no_other_trace(folder: Path) -> None:
    offload = {
        name: _rows(folder, name, *arguments)[1]["metrics"]
        for name, arguments in {
            "small": ("budget=0.2",),
            "large": ("budget=0.6",),
            "slow": ("hardware=coarse",),
        }.items()
    }
    moved = {name: metrics["bytes_per_token"]["value"] for name, metrics in offload.items()}
    assert moved["small"] > moved["slow"] > moved["large"]
    assert offload["slow"]["tpot"]["value"] > 3 * offload["small"]["tpot"]["value"]


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    ran = _run("harness", tmp_path)
    assert ran.returncode == 2
    assert "holds no recording; make one with python -m harness record" in ran.stderr + ran.stdout
    ran = _run("harness", folder, "dataset.limit=2", "resume=false")
    assert ran.returncode == 2
    assert "is not in the trace" in ran.stderr
    ran = _run("harness", folder, "measure.max_new_tokens=7")
    assert ran.returncode == 2
    assert "was recorded up to 6 tokens, and `measure.max_new_tokens` asks for 7" in ran.stderr
    ran = _run("harness", folder, "+model.top_k=1")
    assert ran.returncode == 2
    assert "was recorded with another top_k than reference's; record it again" in ran.stderr
    ran = _run("harness", folder, "systems=[moe_speq]")
    assert ran.returncode == 2
    assert "has no trace of drafter.part=quantised_self" in ran.stderr + ran.stdout
    ran = _run("harness record", folder, "replay=null")
    assert ran.returncode == 2
    assert "set e.g. replay=traces/bench" in ran.stderr + ran.stdout
    incomplete = tmp_path / "traces"
    shutil.copytree(folder / "traces", incomplete, ignore=shutil.ignore_patterns("tokenizer.json"))
    ran = _run("harness", tmp_path)
    assert ran.returncode == 2
    assert "has lost its tokenizer.json; record it again" in ran.stderr
