"""The project as a wheel in a folder of its own, and `spmoe-bench` from an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.app import CONF, SMALL, listed, rows

ROOT = Path(__file__).parents[1]
SOURCES = ("conf", "harness", "systems", "models", "results/papers")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
FAKES = Path(__file__).parent / "harness" / "sweeps" / "fakes"


def _run(*words: str | Path, cwd: Path, **environment: str) -> str:
    ran = subprocess.run(
        [str(word) for word in words], cwd=cwd, text=True, capture_output=True, timeout=300, check=False,
        env={**os.environ, "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def _install(folder: Path, weights: bool) -> Path:
    """Build the wheel from a copy of the sources, without its weights unless they are wanted, and unpack it."""
    left_out = shutil.ignore_patterns("__pycache__", "checkpoints", *(() if weights else ("*.safetensors", "*.npz")))
    source, site = folder / "source", folder / "site"
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=left_out)
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    _run(*pip, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", folder, ".", cwd=source)
    (wheel,) = folder.glob("*.whl")
    _run(*pip, "install", "--no-index", "--no-deps", "--no-compile", "--target", site, wheel, cwd=folder)
    shutil.rmtree(source)
    return site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _install(tmp_path_factory.mktemp("wheel"), weights=False)


@pytest.mark.slow
def test_nothing_is_installed_that_others_may_own(site: Path) -> None:
    found = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert found == {"harness", "systems", "bin"}
    share = site / "harness" / "share"
    for name in ("conf/config.yaml", "conf/system/sp_moe.yaml", "models/reference/tokenizer.json", "results/papers"):
        assert (share / name).exists(), name
    assert not list(share.rglob("__pycache__"))


@pytest.mark.slow
def test_the_command_runs_in_an_empty_folder_and_writes_there(site: Path, tmp_path: Path) -> None:
    home = tmp_path / "empty"
    home.mkdir()
    path = os.pathsep.join(map(str, (site, FAKES, ROOT)))  # the fakes are the tests'; `harness` is the wheel's
    said = _run(
        site / "bin" / "spmoe-bench", "--config-dir", CONF, *SMALL, "dataset=exercises", "dataset.limit=2",
        "systems=[offload,sp_moe]", "output=mine", cwd=home, PYTHONPATH=path,
    )  # fmt: skip
    assert "sp_moe" in said
    assert {path.name for path in home.iterdir()} == {"mine", "results"}
    found = rows(home / "mine" / "summary.json")
    assert {label: row["status"] for label, row in found.items()} == {"offload": "ok", "sp_moe": "ok"}
    origin = json.loads((home / "mine" / "provenance.json").read_text())
    assert origin["command"].startswith("spmoe-bench --config-dir")
    assert (origin["commit"], origin["dirty"]) == (None, None), "no checkout is there to ask"
    assert str(site) not in json.dumps(origin)


@pytest.mark.slow
def test_a_shell_completes_what_is_typed(site: Path, tmp_path: Path) -> None:
    line = "spmoe-bench system=sd_"
    said = _run(
        site / "bin" / "spmoe-bench", "-sc", "query=bash", cwd=tmp_path, PYTHONPATH=str(site), COMP_LINE=line,
        COMP_POINT=str(len(line)), COMP_CWORD="1",
    )  # fmt: skip
    assert "system=sd_offload" in said.split()
    assert "system=offload" not in said.split()


@pytest.mark.nightly
def test_the_reference_pair_comes_with_the_wheel(tmp_path: Path) -> None:
    site = _install(tmp_path, weights=True)
    home = tmp_path / "empty"
    home.mkdir()
    _run(
        site / "bin" / "spmoe-bench", "experiment=bench", "dataset.limit=4", cwd=home, PYTHONPATH=str(site),
        OMP_NUM_THREADS="1",
    )  # fmt: skip
    rows = listed(home / "results" / "bench" / "summary.json")
    assert [row["system"] for row in rows] == ["resident", "offload", "sd_offload", "sp_moe"]
    assert all(row["metrics"]["exact_match"]["value"] == 1.0 for row in rows)
