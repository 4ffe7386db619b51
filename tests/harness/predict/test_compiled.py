"""The compiled copy of `systems` gives the counts that the sources gave."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.predict.compiled import compile_into
from harness.records.provenance import ROOT

WHERE = "import systems.replay.loop as loop, systems.cache.link as link; print(loop.__file__, link.__file__)"


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_compiled_copy_passes_the_check_against_the_baselines(tmp_path: Path) -> None:
    compile_into(tmp_path / "compiled")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "compiled")}
        command = [sys.executable, "-P", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    files = run("-c", WHERE).stdout.split()
    assert len(files) == 2
    assert all(file.startswith(str(tmp_path)) and file.endswith(".so") for file in files)
    checked = run("-m", "harness", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "every count is as it was" in checked.stdout + checked.stderr
