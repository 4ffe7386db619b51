"""What a checkout weighs: it is copied whole to machines that have nothing, so that each part has a limit."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMITS = {"models": 34.0, "results": 2.0, "rest": 3.2}
"""MiB of tracked files as they lie on disk. The pair is almost all of `models`."""
SHOWN = {f"results/figures/{name}.{kind}" for name in ("tpot", "who_wins") for kind in ("json", "svg")}
"""What the README shows; `make figures` draws the others from what is tracked."""


def _tracked() -> list[str]:
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode or not found.stdout:
        pytest.skip("not a git checkout")
    return [name for name in found.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_part_of_the_tree_outgrows_its_limit() -> None:
    sizes: Counter[str] = Counter()
    for name in _tracked():
        top = name.split("/")[0]
        sizes[top if top in LIMITS else "rest"] += (ROOT / name).stat().st_size
    assert set(sizes) == set(LIMITS)
    over = {part: f"{size / 2**20:.2f} MiB" for part, size in sizes.items() if size > LIMITS[part] * 2**20}
    assert not over, f"limits are {LIMITS}"


def test_figures_that_can_be_drawn_anew_are_not_tracked() -> None:
    assert {name for name in _tracked() if name.startswith("results/figures/")} == SHOWN, "make figures draws others"
