"""The oldest transformers that pyproject.toml allows, which machines with a GPU may have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OLDEST = ("transformers==5.17.0", "huggingface-hub<2")
TESTS = ("tests/systems/peers", "tests/systems/test_exactness.py", "tests/systems/test_families.py")


def test_it_is_what_the_project_asks_for() -> None:
    assert f'"transformers>={OLDEST[0].split("==")[1].removesuffix(".0")}' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.nightly
def test_systems_are_exact_on_the_oldest_transformers(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), *OLDEST]
    subprocess.run(pip, check=True, timeout=600)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *TESTS]
    subprocess.run(tests, cwd=ROOT, env=environment, check=True, timeout=1800)
