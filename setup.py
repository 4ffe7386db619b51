"""What `pyproject.toml` cannot say: an installed copy takes along, in `harness/share/`, what lies beside the packages.

There is no top-level `conf` or `models` in an environment then, names that other projects may have.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHARED = ("conf", "models/reference", "models/families", "models/exercises.py", "models/__init__.py", "results/papers")
"""Configs, the reference pair, what generates exercises, and the papers' numbers."""


class BuildShare(build_py):
    """Builds the packages, and the shared files unless the checkout itself is what gets installed."""

    def run(self) -> None:
        """Build."""
        super().run()
        if self.editable_mode:
            return
        share = Path(self.build_lib) / "harness" / "share"
        for name in SHARED:
            _copy(ROOT / name, share / name)
        (share / "commit.json").write_text(json.dumps(_commit()) + "\n", encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copyfile(source, target)
    else:
        ignored = shutil.ignore_patterns("__pycache__", "loss.png", "training.json", ".unfolded")
        shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)


def _commit() -> dict[str, str | bool | None]:
    """Return what records of the installed copy say of its code; unknown where the source is no checkout."""
    commit = _git("rev-parse", "HEAD") if (ROOT / ".git").exists() else None
    changes = None if commit is None else _git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "conf")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


setup(cmdclass={"build_py": BuildShare})
